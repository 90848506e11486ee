//! What the commands ask of a running server, over a socket in its data folder.
//!
//! One connection, one question, one answer: each a line of JSON. The socket is in a folder that only the server's user can enter; whoever can
//! read the spool can ask.

pub mod domain;
pub mod queue;
pub mod suppression;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::archive::order::Order;
use crate::archive::replay::{Change, Compared};
use crate::archive::{Archive, ArchiveError};
use crate::mail::message_id::CopyId;
use crate::submission::login::book::Order as LoginOrder;

/// Octets of a question.
const MOST_QUESTION: u64 = 64 * 1024;
/// Questions answered at a time.
const MOST_CONNECTIONS: usize = 16;
/// Pause after a failure to accept, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Messages of a replay that are compared at a time.
const REPLAYED_AT_ONCE: usize = 4;
/// How long a question may take to come in, and its answer to go out; of a replay, each line.
const PATIENCE: Duration = Duration::from_secs(30);

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "ask")]
pub enum Question {
    /// What is asked about mail that waits, or wanted of it.
    Queue(queue::Order),
    /// Finds messages.
    Search {
        /// In the language of the search box.
        query: String,
        /// How many to pass over.
        offset: usize,
        /// At most.
        limit: usize,
    },
    /// Everything about one message.
    Message {
        /// Its id.
        id: String,
    },
    /// Submits a message; its content follows the question.
    Submit {
        /// Name of the login whose message it is.
        login: String,
        /// Reverse-path; "" is the null one.
        from: String,
        /// Forward-paths.
        to: Vec<String>,
        /// Octets of the content.
        size: u64,
        /// Shows what would become of it, and keeps nothing.
        dry_run: bool,
    },
    /// Runs stored messages through other chains. The answer has a line for the number of messages, one for each of them, and a last one.
    Replay {
        /// Which messages, in the language of the search box; ignored where there are ids.
        query: String,
        /// Which messages.
        ids: Vec<String>,
        /// At most.
        limit: usize,
        /// What is to be different.
        change: Change,
        /// Whether differences are shown, or only told.
        differences: bool,
    },
    /// What is asked about sender domains.
    Domains(domain::Order),
    /// What is asked of the suppression list and the allow list.
    Suppressions(suppression::Order),
    /// What is wanted of logins.
    Logins(LoginOrder),
    /// What each plugin did to a message: its chain is run again on what came in, without sending anything.
    Trace {
        /// Its id.
        id: String,
    },
}

/// One line of the answer to a replay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Replayed {
    /// So many messages are compared.
    Total(usize),
    /// One was.
    Message(Compared),
    /// One could not be.
    Skipped {
        /// Which.
        message: String,
        /// Why.
        reason: String,
    },
    /// That was all.
    Done,
    /// There is no more, and this is why.
    Failed(String),
}

/// An answer: what was asked for, or why not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// What was asked for.
    Found(Value),
    /// Why not, for people.
    Failed(String),
}

/// Returns where the socket of a server with this data folder is.
pub fn socket_path(data: &Path) -> PathBuf {
    data.join("control.sock")
}

/// Binds the socket; one that a killed server left behind is replaced. The caller holds the lock of the data folder.
pub fn bind(data: &Path) -> io::Result<UnixListener> {
    let path = socket_path(data);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(listener)
}

/// Answers questions until `shutdown`.
pub async fn serve(listener: UnixListener, archive: Archive, shutdown: CancellationToken) {
    let tasks = TaskTracker::new();
    // Whoever can reach the socket runs the server.
    let archive = archive.for_operators();
    loop {
        let stream = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match stream {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "a command could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if tasks.len() >= MOST_CONNECTIONS {
            continue;
        }
        let (archive, shutdown) = (archive.clone(), shutdown.clone());
        tasks.spawn(async move {
            if let Err(error) = converse(stream, &archive, &shutdown).await {
                warn!(%error, "a command went away before its answer");
            }
        });
    }
    tasks.close();
    tasks.wait().await;
}

/// Answers one question. All but a replay must be over soon.
async fn converse(stream: UnixStream, archive: &Archive, shutdown: &CancellationToken) -> io::Result<()> {
    let (input, mut output) = stream.into_split();
    let mut input = BufReader::new(input);
    let Ok(answered) = tokio::time::timeout(PATIENCE, answer_soon(&mut input, &mut output, archive)).await else { return Ok(()) };
    match answered? {
        None => Ok(()),
        Some(question) => {
            tokio::select! {
                () = shutdown.cancelled() => say(&mut output, &Replayed::Failed("the server is ending".to_owned())).await,
                replayed = replay(question, archive, &mut output) => replayed,
            }
        }
    }
}

/// What a replay is to do.
struct ReplayQuestion {
    query: String,
    ids: Vec<String>,
    limit: usize,
    change: Change,
    differences: bool,
}

async fn replay(question: ReplayQuestion, archive: &Archive, output: &mut OwnedWriteHalf) -> io::Result<()> {
    let ReplayQuestion { query, ids, limit, change, differences } = question;
    let found = async {
        let replay = archive.prepare_replay(&change).await?;
        let ids = if ids.is_empty() {
            archive.ids(&query, limit).await?
        } else {
            ids.iter().take(limit).map(|id| copy_id(id).map(|copy| copy.message)).collect::<Result<Vec<_>, _>>()?
        };
        Ok((replay, ids))
    };
    let (replay, ids) = match found.await {
        Ok(found) => found,
        Err(reason) => return say(output, &Replayed::Failed(reason)).await,
    };
    say(output, &Replayed::Total(ids.len())).await?;
    let replay = Arc::new(replay);
    let comparing = futures_util::stream::iter(ids).map(|id| {
        let (archive, replay) = (archive.clone(), Arc::clone(&replay));
        let task = tokio::spawn(async move { archive.compare(&replay, id, differences).await });
        async move { (id, task.await.unwrap_or_else(|error| Err(error.to_string()))) }
    });
    let mut comparing = comparing.buffered(REPLAYED_AT_ONCE);
    while let Some((id, compared)) = comparing.next().await {
        let line = match compared {
            Ok(compared) => Replayed::Message(compared),
            Err(reason) => Replayed::Skipped { message: id.to_string(), reason },
        };
        say(output, &line).await?;
    }
    say(output, &Replayed::Done).await
}

/// Writes one line, to somebody who reads.
async fn say(output: &mut OwnedWriteHalf, line: &Replayed) -> io::Result<()> {
    let mut octets = serde_json::to_vec(line)?;
    octets.push(b'\n');
    tokio::time::timeout(PATIENCE, output.write_all(&octets)).await?
}

/// Answers a question, unless it is one for a replay, which is returned.
async fn answer_soon(
    input: &mut BufReader<OwnedReadHalf>,
    output: &mut OwnedWriteHalf,
    archive: &Archive,
) -> io::Result<Option<ReplayQuestion>> {
    let mut line = String::new();
    (&mut *input).take(MOST_QUESTION).read_line(&mut line).await?;
    let answer = match serde_json::from_str(&line) {
        Ok(Question::Submit { login, from, to, size, dry_run }) => {
            let mut content = input.take(size);
            let refused = match archive.largest_message(&login) {
                Err(reason) => Some(reason),
                Ok(limit) => (size > limit).then(|| format!("the message is larger than {limit} octets")),
            };
            if let Some(reason) = refused {
                // Read to its end all the same: who is still writing when the socket closes does not come to read why.
                tokio::io::copy(&mut content, &mut tokio::io::sink()).await?;
                Answer::Failed(reason)
            } else {
                let mut octets = Vec::new();
                content.read_to_end(&mut octets).await?;
                let order = Order { login, from, to, content: octets.into() };
                submit(archive, order, dry_run).await.map_or_else(Answer::Failed, Answer::Found)
            }
        }
        Ok(Question::Replay { query, ids, limit, change, differences }) => {
            return Ok(Some(ReplayQuestion { query, ids, limit, change, differences }));
        }
        Ok(question) => answer(question, archive).await.map_or_else(Answer::Failed, Answer::Found),
        Err(error) => Answer::Failed(format!("this server does not understand the command: {error}")),
    };
    let mut octets = serde_json::to_vec(&answer)?;
    octets.push(b'\n');
    output.write_all(&octets).await?;
    Ok(None)
}

async fn answer(question: Question, archive: &Archive) -> Result<Value, String> {
    let failed = |error: ArchiveError| error.to_string();
    match question {
        Question::Queue(order) => queue::answer(order, archive).await,
        Question::Search { query, offset, limit } => {
            let found = archive.search(&query, offset, limit).await.map_err(failed)?;
            Ok(json!({ "total": found.total, "messages": json_of(&found.messages)? }))
        }
        Question::Message { id } => {
            let found = archive.message(copy_id(&id)?.message).await.map_err(failed)?;
            json_of(&found.ok_or_else(|| format!("no message {id}"))?)
        }
        Question::Domains(order) => domain::answer(order, archive.intake().domains()).await,
        Question::Suppressions(order) => suppression::answer(order, &archive.suppressions()).await,
        Question::Logins(order) => archive.logins().carry_out(order).await.map_err(|error| error.to_string()),
        Question::Submit { .. } => Err("a message comes with its content".to_owned()),
        Question::Replay { .. } => Err("a replay has an answer of many lines".to_owned()),
        Question::Trace { id } => {
            let found = archive.trace(copy_id(&id)?.message).await?;
            json_of(&found.ok_or_else(|| format!("message {id} is not kept any more"))?)
        }
    }
}

async fn submit(archive: &Archive, order: Order, dry_run: bool) -> Result<Value, String> {
    if dry_run {
        return json_of(&archive.dry_run(order).await?);
    }
    let receipt = archive.submit(order).await?;
    Ok(json!({ "message": receipt.message().to_string() }))
}

fn json_of(value: &impl Serialize) -> Result<Value, String> {
    serde_json::to_value(value).map_err(|error| error.to_string())
}

fn copy_id(text: &str) -> Result<CopyId, String> {
    text.parse().map_err(|error| format!("{text}: {error}"))
}

/// Asks the server that works in `data` for a replay, and hands over each line of its answer.
///
/// # Errors
/// If no server is running there, it goes away, or `line` does not want to hear more.
pub async fn ask_replay(data: &Path, question: &Question, mut line: impl FnMut(Replayed) -> anyhow::Result<()>) -> anyhow::Result<()> {
    use anyhow::Context as _;
    let mut stream = connect(data).await?;
    let mut octets = serde_json::to_vec(question)?;
    octets.push(b'\n');
    stream.write_all(&octets).await?;
    let mut lines = BufReader::new(stream).lines();
    while let Some(text) = lines.next_line().await? {
        match serde_json::from_str(&text).with_context(|| format!("the server gave an answer that makes no sense: {text}"))? {
            Replayed::Done => return Ok(()),
            Replayed::Failed(reason) => anyhow::bail!(reason),
            replayed @ (Replayed::Total(_) | Replayed::Message(_) | Replayed::Skipped { .. }) => line(replayed)?,
        }
    }
    anyhow::bail!("the server went away before it was done")
}

async fn connect(data: &Path) -> anyhow::Result<UnixStream> {
    use anyhow::Context as _;
    let path = socket_path(data);
    UnixStream::connect(&path)
        .await
        .with_context(|| format!("no server is running on {} (nothing answers at {})", data.display(), path.display()))
}

/// Asks the server that works in `data`; `content` goes with a message to submit.
///
/// # Errors
/// If no server is running there, or it says why it has no answer.
pub async fn ask(data: &Path, question: &Question, content: &[u8]) -> anyhow::Result<Value> {
    use anyhow::Context as _;
    let mut stream = connect(data).await?;
    let mut line = serde_json::to_vec(question)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    stream.write_all(content).await?;
    let mut octets = Vec::new();
    stream.read_to_end(&mut octets).await?;
    match serde_json::from_slice(&octets).context("the server gave no answer")? {
        Answer::Found(value) => Ok(value),
        Answer::Failed(reason) => anyhow::bail!(reason),
    }
}
