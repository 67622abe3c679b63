//! One round after the other, and what came of them.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::{
    oracle::{self, Verdict},
    plan::Round,
    round::{self, Happened},
    servers::Servers,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What the rounds are drawn from; another at each time, unless given
    #[arg(long)]
    seed: Option<u64>,
    /// For how long
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Only this round
    #[arg(long)]
    round: Option<u64>,
    /// Only rounds whose description has this word; several: all of them
    #[arg(long)]
    only: Vec<String>,
    /// Lines of a failure's wrong and missing rows, and of the agent's log
    #[arg(long, default_value_t = 12)]
    lines: usize,
}

/// Failures that are told in full.
const TOLD: usize = 30;

#[derive(Default)]
struct Sum {
    rounds: usize,
    requests: usize,
    spans: usize,
    strict: usize,
    wrong: usize,
    missing: usize,
    excused: usize,
    histograms: usize,
    with_loss: usize,
    failed: Vec<u64>,
}

/// Runs them.
pub(crate) fn main(args: &Args) -> ExitCode {
    let seed = args.seed.unwrap_or_else(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_nanos() as u64 % 1_000_000_007)
    });
    println!("torture: seed {seed}");
    let began = Instant::now();
    let mut servers = Servers::new();
    let mut sum = Sum::default();
    let numbers = args.round.map_or(0..u64::MAX, |round| round..round + 1);
    for number in numbers {
        if args.round.is_none() && began.elapsed() >= Duration::from_secs_f64(args.minutes * 60.0) {
            break;
        }
        let round = Round::draw(seed, number);
        let description = round.to_string();
        if args.only.iter().all(|word| description.contains(word.as_str())) {
            one(args, &round, &mut servers, &mut sum);
        }
    }
    let Sum { rounds, requests, spans, strict, wrong, missing, excused, histograms, with_loss, failed } = sum;
    println!(
        "torture: seed {seed}, {:.1} min, {rounds} rounds ({with_loss} with loss), {requests} requests, {spans} spans: wrong {wrong}, \
         missing {missing} of {strict} (excused by counted loss: {excused}), histogram differences {histograms}, rounds that failed: {}",
        began.elapsed().as_secs_f64() / 60.0,
        failed.len()
    );
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    for number in failed {
        println!("torture: repeat with: cargo xtask torture --seed {seed} --round {number}");
    }
    ExitCode::FAILURE
}

fn one(args: &Args, round: &Round, servers: &mut Servers, sum: &mut Sum) {
    let began = Instant::now();
    sum.rounds += 1;
    let happened = catch_unwind(AssertUnwindSafe(|| round::carry_out(round, servers)));
    let Ok(happened) = happened else {
        servers.forget(round.server);
        println!("round {}: FAILED (see the panic above): {round}", round.number);
        sum.failed.push(round.number);
        return;
    };
    let verdict = oracle::judge(round, &happened);
    sum.requests += verdict.requests;
    sum.spans += verdict.spans;
    sum.strict += verdict.strict;
    sum.wrong += verdict.wrong.len();
    sum.missing += verdict.missing.len();
    sum.excused += verdict.excused;
    sum.histograms += verdict.histograms.len();
    sum.with_loss += usize::from(!verdict.lost.is_empty());
    println!(
        "round {}: {} {:.1} s: {} answered, {} spans, wrong {}, missing {} of {}, excused {}, histograms {}{}: {round}",
        round.number,
        if verdict.is_good() { "ok" } else { "FAILED" },
        began.elapsed().as_secs_f64(),
        verdict.requests,
        verdict.spans,
        verdict.wrong.len(),
        verdict.missing.len(),
        verdict.strict,
        verdict.excused,
        verdict.histograms.len(),
        if verdict.lost.is_empty() { String::new() } else { format!(", lost {:?}", verdict.lost) },
    );
    if let Some((untold, counted)) = verdict.untold.filter(|(untold, _)| *untold > 0) {
        println!("    {untold} requests without a span, {counted} counted as lost");
    }
    if !verdict.complaints.is_empty() {
        servers.forget(round.server);
    }
    if !verdict.is_good() {
        sum.failed.push(round.number);
        if sum.failed.len() <= TOLD {
            account(args, round, &happened, &verdict);
        }
    }
}

/// All there is to say of a failure.
fn account(args: &Args, round: &Round, happened: &Happened, verdict: &Verdict) {
    println!("    repeat with: cargo xtask torture --seed {} --round {}", round.seed, round.number);
    let list = |title: &str, rows: &[String]| {
        for row in rows.iter().take(args.lines) {
            println!("    {title}: {row}");
        }
        if rows.len() > args.lines {
            println!("    {title}: and {} more", rows.len() - args.lines);
        }
    };
    list("complaint", &verdict.complaints);
    list("wrong", &verdict.wrong);
    list("missing", &verdict.missing);
    list("histogram", &verdict.histograms);
    for life in &happened.lives {
        let said: Vec<_> = life.log.iter().filter(|line| !line.contains("DEBUG")).cloned().collect();
        list("agent", &said);
        let mut figures = Vec::new();
        let names: std::collections::BTreeSet<_> = life.state.metrics.iter().map(|metric| &metric.name).collect();
        for name in names.into_iter().filter(|name| name.starts_with("beyla_rs.")) {
            for (labels, value) in oracle::figures(&life.state, name) {
                if value > 0.0 {
                    figures.push(format!("{name}{labels}={value}"));
                }
            }
        }
        println!("    figures: {}", figures.join(" "));
    }
}
