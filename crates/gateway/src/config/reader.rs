//! Takes a merged configuration apart, key by key, and notes everything that is wrong with it.

use super::{ConfigErrors, Problem};
use figment::Figment;
use figment::value::{Dict, Value};

/// Everything that is wrong so far.
pub(super) struct Problems {
    figment: Figment,
    /// What the file is called.
    file: String,
    found: Vec<Problem>,
}

impl Problems {
    pub(super) fn new(figment: Figment, file: &str) -> Self {
        Self { figment, file: file.into(), found: Vec::new() }
    }

    /// Notes a problem of several keys together, or of one that is absent.
    pub(super) fn add(&mut self, key: &str, what: impl Into<String>) {
        let place = "the configuration".into();
        self.found.push(Problem { place, key: key.into(), value: None, what: what.into() });
    }

    /// Notes a problem of a value that is there.
    fn add_at(&mut self, key: String, value: &Value, what: String) {
        let spelled = match value {
            Value::String(_, text) => Some(format!("{text:?}")),
            Value::Bool(_, value) => Some(value.to_string()),
            Value::Num(_, number) => number
                .to_i128()
                .map(|n| n.to_string())
                .or_else(|| number.to_u128().map(|n| n.to_string()))
                .or_else(|| number.to_f64().map(|n| n.to_string())),
            // Long, and perhaps secret.
            _ => None,
        };
        let place = self.place(value);
        self.found.push(Problem { place, key, value: spelled, what });
    }

    /// Notes a problem of a secret, or of what may hold one, which is not repeated.
    fn add_secretly(&mut self, key: String, value: &Value, what: String) {
        let place = self.place(value);
        self.found.push(Problem { place, key, value: None, what });
    }

    fn place(&self, value: &Value) -> String {
        match self.figment.get_metadata(value.tag()).map(|metadata| &*metadata.name) {
            Some(name) if name.contains("environment") => "the environment".into(),
            Some(name) if name.contains("TOML") => self.file.clone(),
            _ => "the command line".into(),
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.found.len()
    }

    pub(super) fn finish(self) -> Result<(), ConfigErrors> {
        if self.found.is_empty() { Ok(()) } else { Err(ConfigErrors(self.found)) }
    }
}

/// One table of the file.
pub(super) struct Table {
    path: String,
    entries: Dict,
    asked: Vec<&'static str>,
}

impl Table {
    pub(super) fn root(entries: Dict) -> Self {
        Self { path: String::new(), entries, asked: Vec::new() }
    }

    /// A key as the operator would look for it.
    pub(super) fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.into() } else { format!("{}.{key}", self.path) }
    }

    fn ask(&mut self, key: &'static str) -> Option<Value> {
        self.asked.push(key);
        self.entries.get(key).cloned()
    }

    /// Whether the key is there; it counts as known.
    pub(super) fn has(&mut self, key: &'static str) -> bool {
        self.ask(key).is_some()
    }

    /// A key that has a default: `None` when it is absent, and when it is wrong, which is noted.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
        parse: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.ask(key)?;
        match parse(&value) {
            Ok(parsed) => Some(parsed),
            Err(what) => {
                problems.add_at(self.key(key), &value, what);
                None
            }
        }
    }

    /// A key that must be there: `None` when it is absent or wrong, which is noted.
    pub(super) fn require<T>(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
        remedy: &str,
        parse: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        if self.entries.contains_key(key) {
            return self.read(key, problems, parse);
        }
        self.asked.push(key);
        problems.add(&self.key(key), format!("is missing: {remedy}"));
        None
    }

    /// Like [`require`](Self::require) for a value that no message may repeat.
    pub(super) fn require_secret<T>(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
        remedy: &str,
        parse: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        let Some(value) = self.ask(key) else {
            problems.add(&self.key(key), format!("is missing: {remedy}"));
            return None;
        };
        parse(&value).map_err(|what| problems.add_secretly(self.key(key), &value, what)).ok()
    }

    /// A list; each wrong item is noted. `None` when the key is absent or no list.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
        parse: impl Fn(&Value) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let value = self.ask(key)?;
        let Value::Array(_, items) = &value else {
            problems.add_at(self.key(key), &value, "must be a list: write [ ... ]".into());
            return None;
        };
        let mut parsed = Vec::with_capacity(items.len());
        for (item, place) in items.iter().zip(1..) {
            match parse(item) {
                Ok(item) => parsed.push(item),
                Err(what) => problems.add_at(format!("{}[{place}]", self.key(key)), item, what),
            }
        }
        Some(parsed)
    }

    /// A list, or its one item by itself; otherwise as [`list`](Self::list).
    pub(super) fn one_or_more<T>(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
        parse: impl Fn(&Value) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        if let Some(Value::Array(..)) = self.entries.get(key) {
            return self.list(key, problems, parse);
        }
        self.read(key, problems, parse).map(|item| vec![item])
    }

    /// A table below this one; empty when it is absent.
    pub(super) fn table(&mut self, key: &'static str, problems: &mut Problems) -> Table {
        let path = self.key(key);
        let entries = match self.ask(key) {
            None => Dict::new(),
            Some(Value::Dict(_, entries)) => entries,
            Some(other) => {
                problems.add_secretly(path.clone(), &other, format!("must be a section: write [{path}]"));
                Dict::new()
            }
        };
        Table { path, entries, asked: Vec::new() }
    }

    /// The tables of a repeated section, counted from 1.
    pub(super) fn tables(&mut self, key: &'static str, problems: &mut Problems) -> Vec<Table> {
        let path = self.key(key);
        let Some(value) = self.ask(key) else { return Vec::new() };
        let Value::Array(_, items) = value else {
            problems.add_secretly(path.clone(), &value, format!("is a section that may be repeated: write [[{path}]]"));
            return Vec::new();
        };
        let mut tables = Vec::with_capacity(items.len());
        for (item, place) in items.into_iter().zip(1..) {
            let path = format!("{path}[{place}]");
            match item {
                Value::Dict(_, entries) => tables.push(Table { path, entries, asked: Vec::new() }),
                other => problems.add_secretly(path, &other, "must be a section".into()),
            }
        }
        tables
    }

    /// Notes every key that nobody asked for.
    pub(super) fn finish(self, problems: &mut Problems) {
        for (key, value) in &self.entries {
            if self.asked.iter().any(|asked| asked == key) {
                continue;
            }
            let nearest = self
                .asked
                .iter()
                .map(|asked| (strsim::damerau_levenshtein(asked, key), *asked))
                .min()
                .filter(|(distance, asked)| *distance <= asked.len().max(3) / 2);
            let what = match nearest {
                Some((_, known)) => format!("is not a key here: did you mean {known:?}?"),
                None => format!("is not a key here: known are {}", self.asked.join(", ")),
            };
            problems.add_secretly(self.key(key), value, what);
        }
    }
}
