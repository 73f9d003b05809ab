//! Links of a page to other files of the repository, and to headings.

use std::path::Path;

use crate::deploy::{anchors, read};

/// The relative links of the page that lead nowhere, as `FILE: TARGET`.
pub fn broken(page: &Path) -> Vec<String> {
    let text = read(page);
    let folder = page.parent().expect("a file is in a folder");
    let leads_nowhere = |target: &&str| {
        let (file, heading) = target.split_once('#').unwrap_or((target, ""));
        let path = if file.is_empty() { page.to_owned() } else { folder.join(file) };
        let is_page = path.extension().is_some_and(|end| end == "md");
        !path.exists() || (is_page && !heading.is_empty() && !anchors(&read(&path)).contains(heading))
    };
    let found = targets(&text).into_iter().filter(leads_nowhere);
    found.map(|target| format!("{}: {target}", page.display())).collect()
}

/// The targets of links within the repository; code is skipped.
fn targets(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut is_code = false;
    for line in text.lines() {
        is_code ^= line.trim_start().starts_with("```");
        if is_code {
            continue;
        }
        for (at, _) in line.match_indices("](") {
            let is_quoted = line[..at].matches('`').count() % 2 == 1;
            let target = line[at + 2..].split([')', ' ']).next().unwrap_or_default();
            if !is_quoted && !target.contains("://") && !target.starts_with("mailto:") {
                found.push(target);
            }
        }
    }
    found
}

#[test]
fn only_links_of_the_repository_are_followed() {
    let text = "[a](b.md#c) `[d](e)` [f](https://g.example)\n```\n[h](i)\n```\n[![j](k.svg)](l)\n";
    assert_eq!(targets(text), ["b.md#c", "k.svg", "l"]);
}
