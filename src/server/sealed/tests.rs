//! Shares of several people, wrong ones among them.

use super::*;
use crate::crypto::hpke;
use crate::entropy::SeededEntropy;
use crate::id::Kid;
use crate::seal::at_rest::Ring;
use crate::seal::custody::shares::split;

fn aud() -> Aud {
    Aud::of_identity(&Kid::from_thumbprint(&[1; 32]))
}

fn desk() -> Desk {
    let (opening, _) = mpsc::channel(1);
    let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(5));
    let state = State { intake: SealSecretKey::generate(&*entropy), paced: None, pots: BTreeMap::new() };
    let telemetry = Telemetry::new();
    Desk {
        data_dir: PathBuf::new(),
        phases: Phases::new(telemetry.clone()),
        telemetry,
        entropy,
        opening,
        state: Mutex::new(state),
    }
}

/// A custodian of whom three shares of five are enough, its root key, and the shares.
fn custodian(seed: u64) -> (custody::Custodian, RootKey, Vec<SecretBytes>) {
    let entropy = SeededEntropy::new(seed);
    let secret = CustodySecret::generate(&entropy);
    let (kind, shares) = split(&secret, (3, 5), &entropy).unwrap();
    let root = RootKey::generate(&entropy);
    let who = custody::Appointed { name: "board".parse().unwrap(), kind, public: secret.public() };
    let texts = shares.iter().map(|share| SecretBytes::new(share.text().as_bytes().to_vec())).collect();
    (who.appoint(&root, &aud(), &entropy), root, texts)
}

fn part(came: Result<Came, Refused>) -> Vec<u32> {
    match came {
        Ok(Came::Part(Progress { threshold: 3, contributed })) => contributed,
        Ok(_) => panic!("more are needed"),
        Err(refused) => panic!("{refused:?}"),
    }
}

fn refused(came: Result<Came, Refused>) -> String {
    match came {
        Err(Refused { reason: Reason::CustodyRefused, text }) => text,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it was taken"),
    }
}

#[test]
fn three_people_open_what_one_of_them_cannot_and_a_wrong_share_loses_nothing() {
    let (desk, (board, root, shares), (_, _, foreign)) = (desk(), custodian(7), custodian(8));
    let mut mistyped = shares[3].expose().clone();
    *mistyped.last_mut().unwrap() ^= 1;
    assert_eq!(part(desk.share(Purpose::Unseal, &board, &aud(), &shares[4])), [5]);
    assert!(refused(desk.share(Purpose::Unseal, &board, &aud(), &shares[4])).contains('5'), "a duplicate is named");
    refused(desk.share(Purpose::Unseal, &board, &aud(), &foreign[0]));
    refused(desk.share(Purpose::Unseal, &board, &aud(), &SecretBytes::new(mistyped)));
    refused(desk.share(Purpose::Unseal, &board, &aud(), &SecretBytes::new(b"hunter2".to_vec())));
    refused(desk.share(Purpose::Unseal, &board, &aud(), &SecretBytes::new(vec![0xff; 32])));
    assert_eq!(part(desk.share(Purpose::Unseal, &board, &aud(), &shares[0])), [1, 5]);
    let told = told(&board, Purpose::Unseal, &desk.state().pots);
    assert_eq!((told.threshold, told.contributed, told.kind.as_str()), (3, vec![1, 5], "shares"));
    // Whatever keeps the vault from opening then, the shares are not lost: the next share, or one of these, tries again.
    for share in [2, 2, 0] {
        let Ok(Came::Whole(opened, how)) = desk.share(Purpose::Unseal, &board, &aud(), &shares[share]) else {
            panic!("three are enough")
        };
        let ring = Ring::generate(&SeededEntropy::new(1)).wrap(&root, &SeededEntropy::new(2));
        assert!(Ring::unwrap(&opened, &ring).is_ok(), "it is another root key");
        assert_eq!(how, Opened { custodian: Some("board".parse().unwrap()), shares: vec![1, 3, 5] });
    }
}

#[test]
fn shares_that_open_nothing_together_are_forgotten() {
    let (desk, (board, _, shares)) = (desk(), custodian(9));
    // The record is of another secret, as where somebody changed it in the database.
    let (other, _, _) = custodian(10);
    let who = custody::Appointed { kind: board.who.kind.clone(), ..other.who.clone() };
    let forged = custody::Custodian::from_stored(who, other.root, &other.sealed()).unwrap();
    part(desk.share(Purpose::Unseal, &forged, &aud(), &shares[0]));
    part(desk.share(Purpose::Unseal, &forged, &aud(), &shares[1]));
    assert!(refused(desk.share(Purpose::Unseal, &forged, &aud(), &shares[2])).contains("forgotten"));
    assert!(desk.state().pots.is_empty());
}

#[tokio::test]
async fn shares_are_withdrawn_and_do_not_wait_for_ever() {
    let (desk, (board, _, shares)) = (desk(), custodian(11));
    part(desk.share(Purpose::Unseal, &board, &aud(), &shares[0]));
    part(desk.share(Purpose::Unseal, &board, &aud(), &shares[1]));
    let custody = Custody(Arc::new(desk));
    let withdraw = |custodian: &str| Request::new(WithdrawSharesRequest { custodian: custodian.to_owned() });
    assert_eq!(custody.withdraw_shares(withdraw("another")).await.unwrap().into_inner().withdrawn, 0);
    assert_eq!(custody.withdraw_shares(withdraw("")).await.unwrap().into_inner().withdrawn, 2);
    part(custody.0.share(Purpose::Unseal, &board, &aud(), &shares[0]));
    custody.tire();
    assert_eq!(custody.0.state().pots.len(), 1, "it may wait");
    if let Some(pot) = custody.0.state().pots.get_mut(&(Purpose::Unseal, board.who.name.clone())) {
        pot.touched = pot.touched.checked_sub(IDLE).expect("the machine runs for longer");
    }
    custody.tire();
    assert!(custody.0.state().pots.is_empty(), "nobody came");
}

#[test]
fn what_was_given_for_one_thing_serves_for_no_other() {
    let (desk, (board, _, shares)) = (desk(), custodian(12));
    let intake = desk.state().intake.public();
    let register = |seed| Purpose::Recover(Digest::from_bytes([seed; 32]));
    let purposes = [Purpose::Unseal, register(1), register(2)];
    for given in purposes {
        let sealed = hpke::seal(&intake, &given.info("board"), &[], shares[0].expose(), &*desk.entropy).unwrap();
        for wanted in purposes.into_iter().filter(|wanted| *wanted != given) {
            let taken = desk.take((wanted, "board"), &sealed, vec![board.clone()], &aud());
            let Err(Refused { reason, .. }) = taken else { panic!("{given:?} was taken for {wanted:?}") };
            assert_eq!(reason, Reason::BadSealedInput);
        }
        assert_eq!(part(desk.take((given, "board"), &sealed, vec![board.clone()], &aud())), [1]);
    }
    assert_eq!(desk.state().pots.len(), 3, "each has shares of its own");
    let custody = Custody(Arc::new(desk));
    custody.forget_recoveries();
    assert_eq!(custody.0.state().pots.len(), 1, "what was given to unseal stays");
}

#[test]
fn shares_for_too_many_things_do_not_fill_the_memory() {
    let (desk, (board, _, shares)) = (desk(), custodian(13));
    for at in 0..POTS {
        let purpose = Purpose::Recover(Digest::from_bytes([u8::try_from(at).unwrap(); 32]));
        part(desk.share(purpose, &board, &aud(), &shares[0]));
    }
    let one_more = desk.share(Purpose::Recover(Digest::from_bytes([99; 32])), &board, &aud(), &shares[0]);
    assert!(matches!(one_more, Err(Refused { reason: Reason::Busy, .. })));
    part(desk.share(Purpose::Recover(Digest::from_bytes([0; 32])), &board, &aud(), &shares[1]));
}

#[test]
fn shares_of_another_vault_take_nobodys_place() {
    let (desk, (board, _, shares), (_, _, foreign)) = (desk(), custodian(14), custodian(15));
    for at in 0..=POTS {
        let purpose = Purpose::Recover(Digest::from_bytes([u8::try_from(at).unwrap(); 32]));
        refused(desk.share(purpose, &board, &aud(), &foreign[0]));
    }
    assert!(desk.state().pots.is_empty());
    assert_eq!(part(desk.share(Purpose::Unseal, &board, &aud(), &shares[0])), [1]);
}

#[test]
fn shares_of_a_custodian_that_was_replaced_are_not_in_the_way() {
    let (desk, (before, _, old), (board, _, shares)) = (desk(), custodian(16), custodian(17));
    assert_eq!(part(desk.share(Purpose::Unseal, &before, &aud(), &old[0])), [1]);
    assert_eq!(told(&board, Purpose::Unseal, &desk.state().pots).contributed, Vec::<u32>::new());
    assert_eq!(part(desk.share(Purpose::Unseal, &board, &aud(), &shares[1])), [2]);
    assert_eq!(told(&board, Purpose::Unseal, &desk.state().pots).contributed, [2]);
}
