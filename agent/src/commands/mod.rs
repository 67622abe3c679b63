//! Commands that ask what was seen: over the query API, from a running agent or from one of their own. What is asked stands in
//! [`crate::cli`]; each command is a file here.

mod client;
mod mcp;
mod smoke;
mod top;
mod trace;
mod waterfall;

pub(crate) use self::client::{Client, NoAnswer};
use crate::cli::{Exit, Question};

/// Why a question cannot be answered here, whoever is asked.
pub(crate) fn objection(question: &Question) -> Option<&'static str> {
    match question {
        Question::Top => top::objection(),
        Question::Smoke(_) | Question::Trace(_) | Question::Mcp => None,
    }
}

/// Answers a question. `is_own`: the agent was started for it, and has nothing to tell of before.
pub(crate) async fn answer(question: &Question, client: &Client, is_own: bool) -> Exit {
    let answered = match question {
        Question::Smoke(what) => smoke::smoke(what, client).await,
        Question::Trace(what) => trace::trace(what, client, is_own).await,
        Question::Top => top::top(client).await,
        Question::Mcp => Ok(mcp::mcp(client).await),
    };
    answered.unwrap_or_else(|error| {
        tracing::error!("{error}");
        error.exit()
    })
}

/// What is answered where the question was given up before.
pub(crate) const fn given_up(question: &Question) -> Exit {
    match question {
        // A pipeline that goes on with what was not looked at would be told wrong.
        Question::Smoke(_) => Exit::NothingSeen,
        Question::Trace(_) | Question::Top | Question::Mcp => Exit::Ok,
    }
}

/// Writes to standard output; whether somebody reads it.
fn say(text: &str) -> bool {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}
