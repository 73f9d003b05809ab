//! Size and shape: files, functions, doors, first lines, and what must not be left behind.

use crate::source::{Finding, Source, closing, words};

/// Code lines of a file, without tests, comments and blank lines.
const FILE_LINES_MAX: usize = 400;
/// Lines of a function's body, without comments and blank lines.
const FUNCTION_LINES_MAX: usize = 70;

/// Files that are too long.
pub fn file_size(file: &Source) -> Vec<Finding> {
    let lines =
        file.code_and_strings.lines().zip(&file.test).filter(|(line, test)| !**test && !line.trim().is_empty()).count();
    if lines <= FILE_LINES_MAX {
        return Vec::new();
    }
    vec![file.at(
        0,
        format!("{lines} code lines, at most {FILE_LINES_MAX}: split it where a noun of the domain names the part"),
    )]
}

/// Functions that are too long.
pub fn function_size(file: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    for function in functions(file) {
        let body = &file.code_and_strings[function.open..function.end];
        let lines = body.lines().skip(1).filter(|line| !line.trim().is_empty()).count().saturating_sub(1);
        if lines > FUNCTION_LINES_MAX {
            let name = function.name;
            found.push(file.at(function.start, format!("`{name}` has {lines} lines, at most {FUNCTION_LINES_MAX}: keep the control flow here and move leaves into functions with a name of the domain")));
        }
    }
    found
}

/// Functions that others call with a `bool`. A private one's callers stand in the same file.
pub fn flag_parameters(file: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    for function in functions(file).into_iter().filter(|function| !file.is_test(function.start)) {
        let line = file.code[..function.start].rfind('\n').map_or(0, |end| end + 1);
        let visible = file.code[line..function.start].trim_start().starts_with("pub");
        let signature = &file.code[function.start..function.open];
        let parameters = signature.split("->").next().unwrap_or(signature);
        if visible && words(parameters, "bool").any(|at| parameters[..at].trim_end().ends_with(':')) {
            let name = function.name;
            found.push(file.at(function.start, format!("`{name}` takes a bool: the caller's line does not say what `true` means; use an enum with two names, or two functions")));
        }
    }
    found
}

/// Files without a first line that says what they are for.
pub fn module_docs(file: &Source) -> Vec<Finding> {
    let first = file.text.lines().next().unwrap_or_default();
    let said = first.strip_prefix("//!").is_some_and(|rest| rest.trim().len() >= 10);
    if said { Vec::new() } else { vec![file.at(0, "the first line is `//! …` and says what the file is for")] }
}

/// `mod.rs` and `lib.rs` that do more than open doors.
pub fn doors(file: &Source) -> Vec<Finding> {
    const ITEMS: &[&str] =
        &["fn", "struct", "enum", "union", "trait", "impl", "const", "static", "type", "macro_rules"];
    if !(file.path.ends_with("/mod.rs") || file.path == "src/lib.rs") {
        return Vec::new();
    }
    let mut found = Vec::new();
    for item in ITEMS {
        let offsets = words(&file.code, item).filter(|offset| !file.is_test(*offset));
        found.extend(offsets.map(|offset| {
            file.at(
                offset,
                format!("`{item}` in a door: mod.rs and lib.rs hold docs, mod and use; give it a file of its own"),
            )
        }));
    }
    found
}

/// What is left for later or hidden.
pub fn leftovers(file: &Source) -> Vec<Finding> {
    const CODE: &[(&str, &str)] = &[
        ("todo!", "build it, or leave it out"),
        ("unimplemented!", "build it, or leave it out"),
        ("dbg!", "remove it, or log through tracing"),
        ("#[ignore", "a test that does not run proves nothing: make it run, or remove it"),
        ("#[allow(", "use #[expect(…, reason = \"…\")], which fails when it is no longer needed"),
        ("#![allow(", "use #![expect(…, reason = \"…\")], or the reasoned list in Cargo.toml"),
    ];
    const COMMENTS: &[(&str, &str)] = &[
        ("TODO", "do it, or file it"),
        ("FIXME", "do it, or file it"),
        ("XXX", "say what is wrong, or mend it"),
        ("for now", "say when it changes and why it is right until then, or build the real thing"),
    ];
    let mut found = Vec::new();
    for (word, instead) in CODE {
        found.extend(file.code.match_indices(word).map(|(at, _)| file.at(at, format!("`{word}`: {instead}"))));
    }
    for (number, line) in file.text.lines().enumerate() {
        let Some((_, comment)) = line.split_once("//") else { continue };
        for (word, instead) in COMMENTS.iter().filter(|(word, _)| words(comment, word).next().is_some()) {
            found.push(Finding { line: number + 1, message: format!("`{word}` in a comment: {instead}") });
        }
    }
    found
}

/// `static` items: nothing is static but metric descriptions and the allocator.
pub fn statics(file: &Source) -> Vec<Finding> {
    if file.room() == "telemetry" || file.room() == "main" {
        return Vec::new();
    }
    words(&file.code, "static")
        .filter(|offset| *offset == 0 || file.code.as_bytes()[offset - 1] != b'\'')
        .filter(|offset| !file.is_test(*offset))
        .map(|offset| file.at(offset, "a static: two proxies in one process would share it; hand it in as a value"))
        .collect()
}

/// `debug_assert`s of rooms and folders that only compute: at least so many for each 1 000 lines.
const ASSERTS_PER_THOUSAND: usize = 2;

/// Folders in which tests run with too few assertions of what must be true inside.
pub fn asserts(folder: &str, files: &[Source]) -> Option<String> {
    let inside = || files.iter().filter(|file| file.path.starts_with(folder));
    let lines: usize = inside().map(|file| file.text.lines().count()).sum();
    let asserts: usize = inside().map(|file| file.code.matches("debug_assert").count()).sum();
    let least = (lines * ASSERTS_PER_THOUSAND).div_ceil(1000);
    (asserts < least).then(|| {
        format!("{folder} has {asserts} debug_asserts in {lines} lines, at least {least}: assert its invariants")
    })
}

/// Types that grow with every feature: file, item, how many fields or variants it may have.
const MEMBERS_MAX: &[(&str, &str, usize)] = &[
    ("src/control/controller.rs", "Controller", 25),
    ("src/control/event.rs", "FilesEvent", 20),
    ("src/control/event.rs", "ResolverEvent", 20),
    ("src/control/event.rs", "ProcessEvent", 20),
];

/// Types with too many fields or variants.
pub fn members(file: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    for (_, name, most) in MEMBERS_MAX.iter().filter(|(path, ..)| file.path == *path) {
        let declared = |at: &usize| ["struct ", "enum "].iter().any(|item| file.code[..*at].ends_with(item));
        let Some(at) = words(&file.code, name).find(declared) else {
            found.push(file.at(0, format!("`{name}` is not here: the rule of its size follows it")));
            continue;
        };
        let open = file.code[at..].find('{').map_or(file.code.len(), |open| at + open);
        let count = members_of(&file.code[open..closing(&file.code, open)]);
        if count > *most {
            found.push(file.at(at, format!("`{name}` has {count} members, at most {most}: group them where a noun of the domain names the group")));
        }
    }
    found
}

/// How many fields or variants stand between these braces.
fn members_of(body: &str) -> usize {
    let (mut depth, mut count, mut begun) = (0_i32, 0, false);
    let mut before = ' ';
    for letter in body.chars() {
        match letter {
            '{' | '(' | '[' | '<' => depth += 1,
            '>' if before == '-' => {}
            '}' | ')' | ']' | '>' => depth -= 1,
            ',' if depth == 1 => begun = false,
            _ if depth == 1 && !begun && letter.is_alphabetic() => {
                begun = true;
                count += 1;
            }
            _ => {}
        }
        before = letter;
    }
    count
}

/// A function with a body.
struct Function<'a> {
    name: &'a str,
    start: usize,
    open: usize,
    end: usize,
}

/// Every function with a body, nested ones too.
fn functions(file: &Source) -> Vec<Function<'_>> {
    let code = file.code.as_str();
    let mut found = Vec::new();
    for start in words(code, "fn") {
        let rest = code[start + 2..].trim_start();
        let name_end = rest.find(|letter: char| !(letter.is_alphanumeric() || letter == '_')).unwrap_or(0);
        if name_end == 0 {
            continue; // A function pointer's type.
        }
        if let Some(open) = body(code, start) {
            found.push(Function { name: &rest[..name_end], start, open, end: closing(code, open) });
        }
    }
    found
}

/// Where the body of the function at `start` opens; `None` where it has none.
fn body(code: &str, start: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (at, byte) in code.bytes().enumerate().skip(start) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return Some(at),
            b';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{asserts, doors, file_size, flag_parameters, function_size, leftovers, members, module_docs, statics};
    use crate::source::{Finding, Source};

    fn count(rule: fn(&Source) -> Vec<Finding>, path: &str, text: &str) -> usize {
        rule(&Source::new(path, text)).len()
    }

    #[test]
    fn a_long_file_is_found() {
        let long = "let a = 1;\n".repeat(401);
        assert_eq!(count(file_size, "src/a.rs", &long), 1);
        assert_eq!(count(file_size, "src/a.rs", &"let a = 1;\n".repeat(400)), 0);
        assert_eq!(count(file_size, "src/a.rs", &"// why\n\n".repeat(500)), 0);
        let tested = format!("fn a() {{}}\n#[cfg(test)]\nmod tests {{\n{long}}}\n");
        assert_eq!(count(file_size, "src/a.rs", &tested), 0);
    }

    #[test]
    fn a_long_function_is_found() {
        let function =
            |lines| format!("impl A {{\n    fn a(&self) -> [u8; 2] {{\n{}    }}\n}}\n", "        b();\n".repeat(lines));
        assert_eq!(count(function_size, "src/a.rs", &function(71)), 1);
        assert_eq!(count(function_size, "src/a.rs", &function(70)), 0);
        let commented = format!("fn a() {{\n{}}}\n", "    b();\n    // why\n\n".repeat(70));
        assert_eq!(count(function_size, "src/a.rs", &commented), 0);
    }

    #[test]
    fn a_flag_parameter_is_found() {
        assert_eq!(count(flag_parameters, "src/a.rs", "    pub(crate) fn a(name: &str, force: bool) {}"), 1);
        assert_eq!(count(flag_parameters, "src/a.rs", "pub fn a(name: &str) -> bool { let b: bool = c(); b }"), 0);
        assert_eq!(count(flag_parameters, "src/a.rs", "fn a(killed: bool) {}"), 0);
        assert_eq!(count(flag_parameters, "src/a.rs", "pub fn a(test: fn(u8) -> bool) {}"), 0);
    }

    #[test]
    fn a_silent_file_is_found() {
        assert_eq!(count(module_docs, "src/a.rs", "use std::fmt;\n"), 1);
        assert_eq!(count(module_docs, "src/a.rs", "//!\nfn a() {}\n"), 1);
        assert_eq!(count(module_docs, "src/a.rs", "//! What a request is.\nfn a() {}\n"), 0);
    }

    #[test]
    fn a_door_with_furniture_is_found() {
        assert_eq!(count(doors, "src/route/mod.rs", "mod a;\npub fn b() {}\n"), 1);
        assert_eq!(count(doors, "src/lib.rs", "pub const A: u8 = 1;\n"), 1);
        assert_eq!(count(doors, "src/route/mod.rs", "//! A fn.\nmod a;\npub use a::B;\n#[cfg(test)]\nmod tests;\n"), 0);
        assert_eq!(count(doors, "src/route/a.rs", "pub fn b() {}\n"), 0);
    }

    #[test]
    fn leftovers_are_found() {
        for text in
            ["todo!()", "unimplemented!()", "dbg!(a)", "#[ignore]", "#[ignore = \"slow\"]", "#[allow(dead_code)]"]
        {
            assert_eq!(count(leftovers, "src/a.rs", text), 1, "{text}");
        }
        for word in ["TODO", "FIXME", "XXX", "for now"] {
            assert_eq!(count(leftovers, "src/a.rs", &format!("a(); // {word}: b")), 1, "{word}");
        }
        assert_eq!(count(leftovers, "src/a.rs", "#[expect(dead_code, reason = \"todo!()\")] fn a() {}"), 0);
    }

    #[test]
    fn a_type_that_has_grown_is_found() {
        let controller = |fields| {
            format!("pub struct Controller {{\n{}}}\n", "    pub(super) a: Map<u8, (u8, u8)>,\n".repeat(fields))
        };
        assert_eq!(count(members, "src/control/controller.rs", &controller(25)), 0);
        assert_eq!(count(members, "src/control/controller.rs", &controller(26)), 1);
        assert_eq!(count(members, "src/control/other.rs", &controller(26)), 0);
        let functions = |fields| {
            let field = "    a: fn(u8) -> u8,\n    b: Box<dyn Fn() -> Vec<u8>>,\n";
            format!("pub struct Controller {{\n{}    c: u8,\n}}\n", field.repeat(fields))
        };
        assert_eq!(count(members, "src/control/controller.rs", &functions(12)), 0);
        assert_eq!(count(members, "src/control/controller.rs", &functions(13)), 1);
        let events = |variants| {
            let other = "pub enum ResolverEvent { A }\npub enum ProcessEvent { A { b: u8, c: u8 }, B(u8, u8) }\n";
            format!("{other}pub enum FilesEvent {{\n{}}}\n", "    /// One.\n    A(u8, u8),\n".repeat(variants))
        };
        assert_eq!(count(members, "src/control/event.rs", &events(20)), 0);
        assert_eq!(count(members, "src/control/event.rs", &events(21)), 1);
        assert_eq!(count(members, "src/control/event.rs", "pub enum Event { A }"), 3, "it went elsewhere");
    }

    #[test]
    fn a_folder_without_assertions_is_found() {
        let folder = |text: &str| asserts("src/a/", &[Source::new("src/a/b.rs", text), Source::new("src/c.rs", "")]);
        let line = "let a = 1;\n";
        assert!(folder(&line.repeat(1000)).is_some());
        assert!(folder(&format!("{}debug_assert!(a > 0);\ndebug_assert_eq!(a, 1);\n", line.repeat(998))).is_none());
        assert!(folder(&format!("{}// debug_assert!(a > 0);\n", line.repeat(999))).is_some());
    }

    #[test]
    fn a_static_is_found() {
        assert_eq!(count(statics, "src/proxy/a.rs", "static A: u8 = 1;"), 1);
        assert_eq!(count(statics, "src/proxy/a.rs", "fn a() -> &'static str { \"static\" }"), 0);
        assert_eq!(count(statics, "src/main.rs", "static GLOBAL: MiMalloc = MiMalloc;"), 0);
    }
}
