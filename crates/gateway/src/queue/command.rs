//! `entente queue list`, `show` and `drop`.

use super::ask::{self, Journal};
use super::{EntryId, Filter, MOST_DROPPED, Request, Response, print};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::io::{self, Write};
use std::path::Path;

pub use super::ask::Failed;

/// What the operator wants.
#[derive(Clone, Debug)]
pub enum Command {
    /// One line for each entry.
    List {
        /// Of which entries.
        filter: Filter,
        /// As JSON.
        json: bool,
    },
    /// Everything of one entry.
    Show {
        /// Its name.
        id: EntryId,
        /// How.
        form: Form,
    },
    /// Forget entries.
    Drop {
        /// Their names.
        ids: Vec<EntryId>,
    },
}

/// How an entry is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Headers and text for people.
    Text,
    /// One object.
    Json,
    /// The octets of its content and nothing else.
    Raw,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All that was wanted was done.
    Done,
    /// Some entry was not there, or could not be read.
    Missing,
}

/// Why it ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// Nothing could be asked.
    #[error(transparent)]
    Ask(#[from] Failed),
    /// Nobody takes what is said.
    #[error("the answer cannot be written: {0}")]
    Output(#[from] io::Error),
}

/// Does what is wanted with the journal in `folder`, and says what came of it: on `out`, and what went wrong on `err`.
pub fn run(folder: &Path, command: Command, out: &mut dyn Write, err: &mut dyn Write) -> Result<Exit, RunError> {
    let journal = ask::find(folder, ask::open)?;
    carry_out(&journal, command, out, err)
}

pub(super) fn carry_out(
    journal: &Journal<'_>,
    command: Command,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<Exit, RunError> {
    match command {
        Command::List { filter, json } => list(journal, &filter, json, out),
        Command::Show { id, form } => show(journal, id, form, out, err),
        Command::Drop { ids } => drop_entries(journal, &ids, out, err),
    }
}

fn list(journal: &Journal<'_>, filter: &Filter, json: bool, out: &mut dyn Write) -> Result<Exit, RunError> {
    let mut after = None;
    loop {
        let Response::Page { entries, next } =
            ask(journal, Request::List { after: after.clone(), filter: filter.clone() })?
        else {
            return Err(misunderstood().into());
        };
        for entry in &entries {
            if json { print::json(entry, out)? } else { print::line(entry, out)? }
        }
        // A place that is not behind the last one would be the same page again.
        match next.filter(|next| after.as_ref().is_none_or(|after| after < next)) {
            Some(next) => after = Some(next),
            None => return Ok(Exit::Done),
        }
    }
}

fn show(
    journal: &Journal<'_>,
    id: EntryId,
    form: Form,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<Exit, RunError> {
    match ask(journal, Request::Show { id: id.clone() })? {
        Response::Shown { entry, content } => {
            let octets = content.as_ref().map(|content| STANDARD.decode(content)).transpose();
            let octets = octets.map_err(|_| misunderstood())?;
            match (form, &octets) {
                (Form::Text, _) => print::text(&entry, octets.as_deref(), out)?,
                (Form::Json, _) => print::json(&print::Whole { entry: &entry, content: content.as_deref() }, out)?,
                (Form::Raw, Some(octets)) => out.write_all(octets)?,
                (Form::Raw, None) => writeln!(err, "{id} cannot be read")?,
            }
            Ok(if octets.is_some() { Exit::Done } else { Exit::Missing })
        }
        Response::Absent => {
            writeln!(err, "{id} is not there")?;
            Ok(Exit::Missing)
        }
        _ => Err(misunderstood().into()),
    }
}

fn drop_entries(
    journal: &Journal<'_>,
    ids: &[EntryId],
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<Exit, RunError> {
    let mut exit = Exit::Done;
    for some in ids.chunks(MOST_DROPPED) {
        let Response::Dropped { ids: dropped } = ask(journal, Request::Drop { ids: some.to_vec() })? else {
            return Err(misunderstood().into());
        };
        for id in some {
            if dropped.contains(id) {
                writeln!(out, "{id} dropped")?;
            } else {
                writeln!(err, "{id} is not there")?;
                exit = Exit::Missing;
            }
        }
    }
    Ok(exit)
}

fn ask(journal: &Journal<'_>, request: Request) -> Result<Response, Failed> {
    match journal.ask(request)? {
        Response::Failed { what } => Err(Failed::Refused(what)),
        response => Ok(response),
    }
}

fn misunderstood() -> Failed {
    Failed::Refused(
        "the gateway gives an answer that this program does not understand: both have to be of one version".into(),
    )
}
