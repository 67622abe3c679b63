//! Random traffic under random conditions, compared with what the agent tells of it: no span may be wrong, none may be missing
//! where nothing was counted as lost, and the histograms say what the spans say.
//!
//! What a round does is drawn from the seed and its number (`plan`), so that it can be repeated. The path of each request says
//! how it is to be answered (`ask`); servers of many kinds do so (`servers`, `serve`), clients of several say what they got
//! (`client`), an agent watches (`round`), and what it told is compared (`oracle`).

mod ask;
mod client;
mod hog;
mod oracle;
mod plan;
mod round;
mod serve;
mod servers;
mod tally;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Random traffic under random conditions, compared with what beyla-rs tells of it")]
struct Cli {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    run: tally::Args,
}

#[derive(Subcommand)]
enum Part {
    /// Make requests as a file says
    #[command(hide = true)]
    Client { orders: PathBuf },
    /// Answer them
    #[command(hide = true)]
    Serve { certificate: PathBuf, key: PathBuf },
    /// Keep a processor busy
    #[command(hide = true)]
    Hog {
        /// Leave it for moments
        #[arg(long)]
        mostly: bool,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.part {
        None => return tally::main(&cli.run),
        Some(Part::Client { orders }) => client::main(&orders),
        Some(Part::Serve { certificate, key }) => serve::main(&certificate, &key),
        Some(Part::Hog { mostly }) => hog::main(mostly),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("torture: {error:#}");
            ExitCode::FAILURE
        }
    }
}
