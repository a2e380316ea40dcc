//! The mirror of many chains, and of chains in trouble.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use nockvault::follow::mirror::NAME;
use nockvault::id::ChainName;

use crate::stage::Stage;

/// How many descriptors this process has open.
fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

async fn assert_mirrored(stage: &Stage, chain: &str) {
    let chain: ChainName = chain.parse().unwrap();
    let file = stage.audit().join(format!("{chain}.audit.jsonl"));
    let (mirrored, stored) = (fs::read(&file).unwrap(), stage.harness.file(&chain).await);
    assert!(mirrored == stored, "{} is not what the store has", file.display());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_chains_cost_few_open_files() {
    let mut stage = Stage::new().await;
    for number in 0..1000 {
        stage.harness.agent(&format!("a{number}")).await;
    }
    stage.grow(3).await;
    let before = open_files();
    stage.follow(vec![stage.mirror()]);
    let mut most = before;
    while stage.counted("lag_entries", NAME).await != Some(0) {
        most = most.max(open_files());
    }
    most = most.max(open_files());
    // A descriptor of the mirror, and what reads of the store take meanwhile.
    assert!(most <= before + 16, "{before} files were open before it, and {most} then");
    let mirrored = fs::read_dir(stage.audit()).unwrap().count();
    assert!(mirrored >= 1003, "{mirrored} files");
    for chain in ["_operators", "_vault", "kit", "a0", "a999"] {
        assert_mirrored(&stage, chain).await;
    }
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&stage.audit()), mode(&stage.audit().join("kit.audit.jsonl"))), (0o750, 0o640));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_cannot_be_written_holds_up_nobody() {
    let mut stage = Stage::new().await;
    fs::write(stage.audit(), "not a folder").unwrap();
    stage.follow(vec![stage.mirror()]);
    stage.grow(20).await;
    stage.until("well", NAME, |well| well == 0).await;
    assert!(stage.counted("lag_entries", NAME).await.unwrap() >= 20);
    fs::remove_file(stage.audit()).unwrap();
    stage.until_carried(NAME).await;
    stage.until("well", NAME, |well| well == 1).await;
    assert_mirrored(&stage, "kit").await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_whose_file_is_in_trouble_holds_up_no_other() {
    let mut stage = Stage::new().await;
    fs::create_dir_all(stage.audit().join("_operators.audit.jsonl")).unwrap();
    fs::write(stage.audit().join("kit.audit.jsonl"), "{\"somebody\":\"else\"}\n").unwrap();
    stage.follow(vec![stage.mirror()]);
    stage.until("well", NAME, |well| well == 0).await;
    stage.until("set_aside_total", NAME, |count| count == 1).await;
    stage.grow(20).await;
    let operators = stage.harness.lines(&ChainName::operators()).await.len() as u64;
    stage.until("lag_entries", NAME, |lag| lag == operators).await;
    assert_mirrored(&stage, "_vault").await;
    fs::remove_dir(stage.audit().join("_operators.audit.jsonl")).unwrap();
    stage.until_carried(NAME).await;
    stage.until("well", NAME, |well| well == 1).await;
    stage.stop().await;
    assert_mirrored(&stage, "_operators").await;
    assert_eq!(fs::read_to_string(stage.audit().join("kit.audit.jsonl")).unwrap(), "{\"somebody\":\"else\"}\n");
    let aside = fs::read(stage.audit().join("kit.audit.aside-1.jsonl")).unwrap();
    assert!(aside == stage.harness.file(&"kit".parse().unwrap()).await);
}
