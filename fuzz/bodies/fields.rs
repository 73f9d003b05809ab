//! Properties of the fields of a head: after any acts they have what a plain list of lines has, and are written so that
//! each line stays one.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use pointsman::fields::{FieldLine, FieldSpan, Fields};

/// As they may be received; `x_d` has no other form of `x-d`.
const NAMES: [&str; 8] = ["Host", "a", "X-B", "x-b", "ACCEPT", "x-d", "x_d", "content-length"];
/// Between a name and its value, and behind the value.
const BLANKS: [(&str, &str); 6] = [(": ", ""), (":", ""), (":\t", ""), (":  ", ""), (": ", " "), (":", " \t")];
const START: &[u8] = b"GET /a?b HTTP/1.1\r\n";

/// The input: what is taken of it decides.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> Option<usize> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(usize::from(*first))
    }

    fn name(&mut self) -> Option<&'static str> {
        Some(NAMES[self.byte()? % NAMES.len()])
    }

    /// A valid value: without blanks around it.
    fn value(&mut self) -> Option<Vec<u8>> {
        let length = self.byte()? % 24;
        let taken = length.min(self.0.len());
        let (bytes, rest) = self.0.split_at(taken);
        self.0 = rest;
        let valid = bytes.iter().map(|byte| if *byte < 0x20 && *byte != b'\t' || *byte == 0x7f { b'.' } else { *byte });
        let all: Vec<u8> = valid.collect();
        Some(all.trim_ascii().to_vec())
    }
}

/// Lines, with names in lower case.
type List = Vec<(String, Vec<u8>)>;

/// Any bytes: the lines of a received head, then acts.
pub fn any(bytes: &[u8]) {
    let mut choices = Choices(bytes);
    let Some((mut fields, mut list)) = received(&mut choices) else { return };
    check(&fields, &list);
    let host = fields.span("host");
    while let Some(()) = act(&mut choices, &mut fields, &mut list) {
        check(&fields, &list);
    }
    assert_eq!(fields.prelude(), START);
    if let Some(host) = host {
        assert!(HeaderValue::from_bytes(fields.part(host)).is_ok(), "a place stays right");
    }
    fields.clear();
    check(&fields, &Vec::new());
}

/// A head as it was received.
fn received(choices: &mut Choices) -> Option<(Fields, List)> {
    let (mut fields, mut list, mut head) = (Fields::new(), List::new(), START.to_vec());
    for _ in 0..choices.byte()? % 12 {
        let (name, blanks, value) = (choices.name()?, choices.byte()?, choices.value()?);
        let (before, behind) = BLANKS[blanks % BLANKS.len()];
        let at = head.len();
        let value_at = at + name.len() + before.len();
        for part in [name.as_bytes(), before.as_bytes(), &value, behind.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
        fields.push_line(FieldLine {
            name: FieldSpan::new(at, at + name.len()),
            value: FieldSpan::new(value_at, value_at + value.len()),
            end: FieldSpan::new(0, head.len()).to,
        });
        list.push((name.to_ascii_lowercase(), value));
    }
    head.extend_from_slice(b"\r\n");
    fields.set_head(&head, START.len());
    Some((fields, list))
}

fn act(choices: &mut Choices, fields: &mut Fields, list: &mut List) -> Option<()> {
    let kind = choices.byte()?;
    let lower = choices.name()?.to_ascii_lowercase();
    let name = name_of(&lower);
    match kind % 8 {
        0 | 1 => {
            let value = choices.value()?;
            fields.append(&name, &value_of(&value));
            list.push((lower, value));
        }
        2 => {
            let value = choices.value()?;
            fields.insert(&name, &value_of(&value));
            list.retain(|(known, _)| *known != lower);
            list.push((lower, value));
        }
        3 => {
            let had = list.iter().any(|(known, _)| *known == lower);
            assert_eq!(fields.remove(&name), had);
            list.retain(|(known, _)| *known != lower);
        }
        4 => {
            let length = choices.byte()?;
            fields.retain(|_, value| value.len() != length % 24);
            list.retain(|(_, value)| value.len() != length % 24);
        }
        5 => {
            let number = choices.byte()? as u64 * 0x0101_0101_0101_0101;
            fields.insert_number(&name, number);
            list.retain(|(known, _)| *known != lower);
            list.push((lower, number.to_string().into_bytes()));
        }
        6 => *fields = fields.clone(),
        _ => {
            // A map keeps the lines of a name, in their order.
            let map = fields.to_map();
            let again = Fields::from(&map);
            assert_eq!(again.len(), fields.len());
            assert_eq!(again.to_map(), map);
            assert!(map.get_all(&name).iter().map(HeaderValue::as_bytes).eq(fields.get_all(&lower)));
        }
    }
    Some(())
}

/// The fields are those of the list, in all ways to read them.
fn check(fields: &Fields, list: &[(String, Vec<u8>)]) {
    assert_eq!((fields.len(), fields.is_empty()), (list.len(), list.is_empty()));
    assert!(fields.iter().eq(list.iter().map(|(name, value)| (name.as_bytes(), value.as_slice()))));
    assert!(fields.names().eq(list.iter().map(|(name, _)| name.as_bytes())));
    assert_eq!(fields.bytes(), list.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>());
    for name in NAMES.map(str::to_ascii_lowercase) {
        let of_list = || list.iter().filter(|(known, _)| *known == name).map(|(_, value)| value.as_slice());
        assert_eq!(fields.get(&name), of_list().next());
        assert_eq!(fields.contains(&name), of_list().next().is_some());
        assert!(fields.get_all(&name).eq(of_list()));
    }
    let mut written = Vec::new();
    fields.write(&mut written);
    let mut expected = Vec::new();
    for (name, value) in list {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            expected.extend_from_slice(part);
        }
    }
    assert!(written == expected, "{:?}", String::from_utf8_lossy(&written));
    let mut map = HeaderMap::new();
    for (name, value) in list {
        map.append(name_of(name), value_of(value));
    }
    assert_eq!(fields.to_map(), map);
}

fn name_of(name: &str) -> HeaderName {
    HeaderName::from_bytes(name.as_bytes()).unwrap_or_else(|_| panic!("{name:?} is a name of the table"))
}

fn value_of(value: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(value).unwrap_or_else(|_| panic!("{:?} is a valid value", String::from_utf8_lossy(value)))
}
