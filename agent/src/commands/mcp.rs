//! `beyla-rs mcp`: the tools of the query API over standard input and output, a message a line, for an assistant that has started it.

use std::io::{self, BufRead, Read as _};

use serde_json::Value as Json;
use tokio::sync::mpsc;

use super::{client::Client, say};
use crate::{
    api::mcp::{FindId, MESSAGE_MAX, answer, too_long},
    cli::Exit,
};

pub(super) async fn mcp(client: &Client) -> Exit {
    let mut lines = lines();
    while let Some(line) = lines.recv().await {
        let ask = |path: String| async move { client.get::<Json>(&path).await.map_err(|error| error.to_string()) };
        let answer = match line {
            Line::Whole(line) => answer(&line, ask).await,
            Line::TooLong(id) => Some(too_long(&id)),
        };
        if let Some(answer) = answer
            && !say(&format!("{answer}\n"))
        {
            break;
        }
    }
    Exit::Ok
}

/// A line of standard input.
enum Line {
    Whole(Vec<u8>),
    /// It is longer than a message may be: the id that it has.
    TooLong(Json),
}

/// Reads the rest of a line whose beginning is this, and finds its id.
fn rest_of(input: &mut impl BufRead, beginning: &[u8]) -> io::Result<Json> {
    let mut find = FindId::default();
    find.take(beginning);
    loop {
        let bytes = input.fill_buf()?;
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let line = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        find.take(line);
        let (is_over, read) = (end.is_some() || bytes.is_empty(), line.len() + usize::from(end.is_some()));
        input.consume(read);
        if is_over {
            return Ok(find.id());
        }
    }
}

/// Lines of standard input, read by a thread that ends with it.
fn lines() -> mpsc::Receiver<Line> {
    let (tell, lines) = mpsc::channel(1);
    let read = move || {
        let mut input = io::stdin().lock();
        loop {
            let mut line = Vec::new();
            let most = MESSAGE_MAX as u64 + 1;
            match input.by_ref().take(most).read_until(b'\n', &mut line) {
                Ok(1..) => {}
                _ => return,
            }
            let is_cut = line.last() != Some(&b'\n') && line.len() > MESSAGE_MAX;
            let line = if is_cut {
                let Ok(id) = rest_of(&mut input, &line) else { return };
                Line::TooLong(id)
            } else if line.trim_ascii().is_empty() {
                continue;
            } else {
                Line::Whole(line)
            };
            if tell.blocking_send(line).is_err() {
                return;
            }
        }
    };
    // Without one nothing is read, and the command ends at once.
    let _started = std::thread::Builder::new().name("input".to_owned()).spawn(read).is_ok();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_long_is_read_to_its_end_and_its_id_is_known() {
        let long = format!("{{\"params\":\"{}\",\"id\":12}}\nnext\n", "x".repeat(3 * MESSAGE_MAX));
        let (beginning, rest) = long.split_at(MESSAGE_MAX + 1);
        let mut rest = io::BufReader::with_capacity(100, rest.as_bytes());
        assert_eq!(rest_of(&mut rest, beginning.as_bytes()).unwrap(), 12);
        let mut next = String::new();
        rest.read_line(&mut next).unwrap();
        assert_eq!(next, "next\n");
        assert_eq!(too_long(&12.into())["id"], 12);
        // The end of it all.
        assert_eq!(rest_of(&mut io::empty(), b"{\"id\":\"a\",").unwrap(), "a");
    }
}
