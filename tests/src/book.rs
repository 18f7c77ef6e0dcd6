//! Reads the book in `docs/src`, so that tests and pages share what they say: tables, code blocks and links of Markdown.
//!
//! It reads what these pages use, not all of Markdown: tables with a rule below their header, fenced code, inline links.

use std::path::{Path, PathBuf};

/// The folder of the pages.
pub fn folder() -> PathBuf {
    root().join("docs/src")
}

/// The folder of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// A page of the book, by its path below `docs/src`.
pub fn page(path: &str) -> String {
    let path = folder().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All pages, by their path below `docs/src`, in order.
pub fn pages() -> Vec<String> {
    fn collect(folder: &Path, prefix: &str, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).expect("a folder of the book") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name in UTF-8");
            if path.is_dir() {
                collect(&path, &format!("{prefix}{name}/"), found);
            } else if name.ends_with(".md") {
                found.push(format!("{prefix}{name}"));
            }
        }
    }
    let mut found = Vec::new();
    collect(&folder(), "", &mut found);
    found.sort();
    found
}

/// A table of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The heading that it stands below.
    pub heading: String,
    /// What its columns are called.
    pub columns: Vec<String>,
    /// Its rows, each with a cell for every column, spelled as in the page.
    pub rows: Vec<Vec<String>>,
}

/// The tables of a page, in order.
///
/// # Panics
///
/// Where a row has more or fewer cells than the table has columns.
pub fn tables(page: &str) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    let mut heading = String::new();
    let mut inside = false;
    let mut lines = without_code(page).peekable();
    while let Some(line) = lines.next() {
        if let Some(text) = line.strip_prefix('#') {
            heading = text.trim_start_matches('#').trim().to_owned();
        }
        if !line.starts_with('|') {
            inside = false;
        } else if !inside && lines.peek().is_some_and(|next| next.starts_with("|--") || next.starts_with("|:-")) {
            inside = true;
            lines.next();
            tables.push(Table { heading: heading.clone(), columns: cells(line), rows: Vec::new() });
        } else if let Some(table) = tables.last_mut().filter(|_| inside) {
            let row = cells(line);
            assert_eq!(row.len(), table.columns.len(), "columns below {:?}: {line}", table.heading);
            table.rows.push(row);
        }
    }
    tables
}

/// The one table below a heading.
///
/// # Panics
///
/// Where there is none, or more than one.
pub fn table_below(page: &str, heading: &str) -> Table {
    let mut found = tables(page).into_iter().filter(|table| table.heading == heading);
    let table = found.next().unwrap_or_else(|| panic!("there is no table below {heading:?}"));
    assert!(found.next().is_none(), "there is more than one table below {heading:?}");
    table
}

/// What stands in backticks in a cell, in order.
pub fn code(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// The cells of a line. `\|` is no border, here as where the book is printed.
fn cells(line: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut escaped = false;
    let inner = line.trim().trim_start_matches('|');
    for c in inner.strip_suffix('|').unwrap_or(inner).chars() {
        match c {
            '|' if escaped => {
                if let Some(cell) = cells.last_mut() {
                    cell.pop();
                    cell.push('|');
                }
            }
            '|' => cells.push(String::new()),
            _ => cells.last_mut().expect("there is always one").push(c),
        }
        escaped = c == '\\';
    }
    cells.into_iter().map(|cell| cell.trim().to_owned()).collect()
}

/// A fenced block of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The heading that it stands below.
    pub heading: String,
    /// What is written behind the fence, as in `toml`.
    pub language: String,
    /// The last text in backticks before it: the file it belongs to, where one is named.
    pub file: String,
    /// Its lines.
    pub text: String,
}

/// The fenced blocks of a page, in order.
pub fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let (mut heading, mut file) = (String::new(), String::new());
    let mut inside = false;
    for line in page.lines() {
        if let Some(fence) = line.strip_prefix("```") {
            inside = !inside;
            if inside {
                let language = fence.trim().to_owned();
                let text = String::new();
                blocks.push(Block { heading: heading.clone(), language, file: std::mem::take(&mut file), text });
            }
        } else if let Some(block) = blocks.last_mut().filter(|_| inside) {
            block.text.push_str(line);
            block.text.push('\n');
        } else {
            if let Some(text) = line.strip_prefix('#') {
                heading = text.trim_start_matches('#').trim().to_owned();
            }
            if let Some(named) = code(line).last() {
                file = (*named).to_owned();
            }
        }
    }
    assert!(!inside, "a fence is not closed below {heading:?}");
    blocks
}

/// The targets of the inline links of a page, code left out.
pub fn links(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in without_code(page) {
        // What stands in backticks is no link.
        let prose: String = line.split('`').step_by(2).collect();
        let mut rest = &*prose;
        while let Some((_, behind)) = rest.split_once("](") {
            let Some((target, more)) = behind.split_once(')') else { break };
            found.push(target.to_owned());
            rest = more;
        }
    }
    found
}

/// The anchors that the headings of a page make.
pub fn anchors(page: &str) -> Vec<String> {
    let headings = without_code(page).filter_map(|line| line.strip_prefix('#'));
    let anchor = |heading: &str| {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

fn without_code(page: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    page.lines().filter(move |line| {
        let fence = line.starts_with("```");
        inside ^= fence;
        !inside && !fence
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# One\n\n| a | b |\n|---|--:|\n| `x\\|y` | [1](two.md#way-there) |\n| | z |\n\nIn `a.toml`:\n\n```toml\n\
                        # no heading\n| no | table |\n```\n\n## A way, there\n\n| c |\n|---|\n| d |\n\n| not a table |\n";

    #[test]
    fn tables_blocks_and_links_are_found() {
        let found = tables(PAGE);
        assert_eq!(found.len(), 2);
        assert_eq!((&*found[0].heading, &found[0].columns[..]), ("One", &["a".to_owned(), "b".to_owned()][..]));
        assert_eq!(found[0].rows, [["`x|y`", "[1](two.md#way-there)"], ["", "z"]]);
        assert_eq!(code(&found[0].rows[0][0]), ["x|y"]);
        assert_eq!(table_below(PAGE, "A way, there").rows, [["d"]]);
        let block = &blocks(PAGE)[0];
        assert_eq!((&*block.language, &*block.file, &*block.heading), ("toml", "a.toml", "One"));
        assert_eq!(block.text, "# no heading\n| no | table |\n");
        assert_eq!(links(PAGE), ["two.md#way-there"]);
        assert_eq!(anchors(PAGE), ["one", "a-way-there"]);
    }

    #[test]
    #[should_panic(expected = "columns below")]
    fn a_row_that_does_not_fit_is_told() {
        tables("| a | b |\n|---|---|\n| c |\n");
    }
}
