//! Puts a load on a vault, and says what each issuance cost the daemon and what its caller waited.
//!
//! `make bench` and `make bench-openbao` run it (`benches/run/`); by hand, against a vault of one's own:
//!
//! ```text
//! load prepare --vault prod.card --operator ada --operator-key ada.ed25519 --seed load.seed --agents 64 --roles orders
//! load vault   --vault prod.card --seed load.seed --role orders --sessions 64 --seconds 10 --pid "$(pidof vaultd)"
//! load vault   ... --rate 1500          # on a clock, whatever the answers do
//! ```
//!
//! Each session is an agent of its own: its own key, its own connection, its own chain. It signs each request as it is
//! sent, and checks each answer: that the vault's certified key signed it, that it answers this request, and for one of
//! sixteen that the seal opens. Without `--rate` a session asks again when it has its answer. With it, requests are due
//! at fixed instants and their latency counts from there, so that one who is late cannot hide how late he is.
//!
//! `fill` makes a chain as long as wanted, without the daemon. `http` does the same to a server that speaks HTTP/1.1 and JSON, `echo` to a server that does nothing, and `pieces`
//! measures what an issuance is made of. All run in one thread and print one line of JSON. Nothing here is part of the
//! product.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench that cannot go on stops, and its line is what it is for"
)]

mod echo;
mod fill;
mod http;
mod measure;
mod pieces;
mod vault;

use clap::{Parser, Subcommand};
use tokio::runtime::Builder;
use tokio::task::LocalSet;

/// Put a load on a vault.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Register agents and grant them roles.
    Prepare(vault::Prepare),
    /// Ask a vault for credentials.
    Vault(vault::Load),
    /// Make the chain of the first agent long, while the daemon does not run.
    Fill(fill::Fill),
    /// Send requests over HTTP/1.1.
    Http(http::Load),
    /// Answer every request with the same bytes, until standard input ends.
    EchoServer(echo::Server),
    /// Ask such a server.
    Echo(echo::Load),
    /// Measure what an issuance is made of.
    Pieces(pieces::Pieces),
}

fn main() -> anyhow::Result<()> {
    let what = Arguments::parse().what;
    let runtime = match &what {
        // As the daemon's own runtime.
        What::EchoServer(_) => Builder::new_multi_thread().enable_all().build()?,
        _ => Builder::new_current_thread().enable_all().build()?,
    };
    let said = LocalSet::new().block_on(&runtime, async {
        match what {
            What::Prepare(prepare) => prepare.run().await,
            What::Vault(load) => load.run().await,
            What::Fill(fill) => fill.run().await,
            What::Http(load) => load.run().await,
            What::EchoServer(server) => server.run().await,
            What::Echo(load) => load.run().await,
            What::Pieces(pieces) => pieces.run(),
        }
    })?;
    println!("{said}");
    Ok(())
}
