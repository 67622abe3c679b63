//! `beyla-rs mcp`: the tools of the query API over standard input and output, a message a line, for an assistant that has started it.

use std::io::{self, BufRead as _, Read as _};

use serde_json::Value as Json;
use tokio::sync::mpsc;

use super::{client::Client, say};
use crate::{
    api::mcp::{MESSAGE_MAX, answer},
    cli::Exit,
};

pub(super) async fn mcp(client: &Client) -> Exit {
    let mut lines = lines();
    while let Some(line) = lines.recv().await {
        let ask = |path: String| async move { client.get::<Json>(&path).await.map_err(|error| error.to_string()) };
        if let Some(answer) = answer(&line, ask).await
            && !say(&format!("{answer}\n"))
        {
            break;
        }
    }
    Exit::Ok
}

/// Lines of standard input, read by a thread that ends with it. Of a longer one than there are messages the beginning is given, which
/// is no JSON.
fn lines() -> mpsc::Receiver<Vec<u8>> {
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
            if is_cut && input.skip_until(b'\n').is_err() {
                return;
            }
            if !line.trim_ascii().is_empty() && tell.blocking_send(line).is_err() {
                return;
            }
        }
    };
    // Without one nothing is read, and the command ends at once.
    let _started = std::thread::Builder::new().name("input".to_owned()).spawn(read).is_ok();
    lines
}
