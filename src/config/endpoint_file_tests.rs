//! Tests of `endpoints = { file = … }`.

use std::fmt::Write as _;
use std::path::Path;

use super::{Diagnostics, Loaded, load, load_edit};

const HEAD: &str = "schema = 1\n[[listener]]\naddress = '127.0.0.1:7001'\n";

/// A folder with a configuration whose upstream `a` has its endpoints in `a.txt`.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(content: &str) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        let text =
            format!("{HEAD}[upstream.a]\nendpoints = {{ file = 'a.txt' }}\n[[route]]\nname = 'r'\nstable = 'a'\n");
        folder.write("routes.toml", &text);
        folder.write("a.txt", content);
        folder
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path().join(name), content).unwrap();
    }

    fn load(&self) -> Result<Loaded, Diagnostics> {
        load(&self.path().join("routes.toml"), &|_| None)
    }

    fn errors(&self) -> Diagnostics {
        self.load().map(|loaded| loaded.warnings).expect_err("the file is bad")
    }

    fn urls(&self) -> Vec<String> {
        let loaded = self.load().unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
        loaded.rules.upstreams[0].endpoints.iter().map(ToString::to_string).collect()
    }
}

#[test]
fn endpoints_come_from_a_file_which_is_watched() {
    let folder = Folder::new("# discovery\r\nhttp://10.0.0.1:80\r\nhttp://10.0.0.2:80 weight=2 backup\r\n");
    let loaded = folder.load().unwrap();
    assert_eq!(folder.urls(), ["http://10.0.0.1:80", "http://10.0.0.2:80 (backup) (weight 2)"]);
    let path = folder.path().join("a.txt");
    assert!(loaded.watched.contains(&path), "{:?}", loaded.watched);
    folder.write("a.txt", "http://10.0.0.1:80\n");
    let again = folder.load().unwrap();
    assert_ne!(loaded.hash, again.hash, "the hash depends on the file");
    let routes = std::fs::read_to_string(folder.path().join("routes.toml")).unwrap();
    let name = folder.path().join("routes.toml").display().to_string();
    let moved = routes.replace("a.txt", "b.txt");
    let refused = load_edit(&name, &moved, &|_| None, &again.applied).expect_err("it is not in use");
    assert!(refused.to_string().contains("a check over the API opens no other files"), "{refused}");
    assert!(load_edit(&name, &routes, &|_| None, &again.applied).is_ok());
}

#[test]
fn bad_files_of_endpoints_are_refused_with_the_place() {
    for (content, line, part) in [
        ("", 0, "has no endpoint"),
        ("# nothing\n", 0, "has no endpoint"),
        ("http://10.0.0.1:80\nhttp://10.0.0.2", 2, "may be half written"),
        ("http://10.0.0.1:80\n10.0.0.2:80\n", 2, "write `http://10.0.0.2:80`"),
        ("http://10.0.0.1:80\nhttp://0.0.0.0:80\n", 2, "every address of a machine"),
        ("http://10.0.0.1:80\nhttp://10.0.0.2:80 bakup\n", 2, "did you mean `backup`?"),
        ("http://10.0.0.1:80\nhttp://10.0.0.1:80\n", 2, "this endpoint is listed twice"),
        ("http://10.0.0.1:80 drain\n", 1, "every endpoint of `a` is drained"),
    ] {
        let folder = Folder::new(content);
        let errors = folder.errors();
        assert_eq!(errors.errors(), 1, "{content:?}: {errors}");
        let error = errors.iter().next().unwrap();
        let label = &error.labels[0];
        let place = if line == 0 { ("routes.toml", 5) } else { ("a.txt", line) };
        assert!(label.file.ends_with(place.0) && label.line == place.1, "{content:?}: {errors}");
        assert!(errors.to_string().contains(part), "{content:?}: {errors}");
        assert!(errors.watched().contains(&folder.path().join("a.txt")), "a new file may fix it");
    }
}

#[test]
fn files_that_cannot_be_read_are_refused() {
    let folder = Folder::new("");
    folder.write("a.txt", b"http://10.0.0.1\n\xff\n");
    assert!(folder.errors().to_string().contains("is not UTF-8 at line 2"));
    std::fs::remove_file(folder.path().join("a.txt")).unwrap();
    assert!(folder.errors().to_string().contains("there is no such file"));
    std::fs::create_dir(folder.path().join("a.txt")).unwrap();
    assert!(folder.errors().to_string().contains("a directory"));
    std::fs::remove_dir(folder.path().join("a.txt")).unwrap();
    let large = std::fs::File::create(folder.path().join("a.txt")).unwrap();
    large.set_len((16 << 20) + 1).unwrap();
    assert!(folder.errors().to_string().contains("the limit is 16 MiB"));
}

#[test]
fn a_file_with_a_million_lines_is_refused_in_bounded_time() {
    let folder = Folder::new(&"http://10.0.0.1\n".repeat(1_000_000));
    let errors = folder.errors();
    assert!(errors.errors() <= 8, "{}", errors.errors());
    assert!(errors.to_string().contains("an upstream has at most 65536 endpoints"), "{errors}");
    folder.write("a.txt", "x\n".repeat(1_000_000));
    let errors = folder.errors();
    assert!(errors.to_string().contains("at least 995 more lines of this file are not endpoints"), "{errors}");
}

#[test]
fn ten_thousand_endpoints_load() {
    let mut content = String::new();
    for at in 0..10_000 {
        writeln!(content, "http://10.1.{}.{}:8080 weight=2", at / 250, at % 250).unwrap();
    }
    let folder = Folder::new(&content);
    assert_eq!(folder.load().unwrap().rules.upstreams[0].endpoints.len(), 10_000);
}
