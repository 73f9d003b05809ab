//! A small terminal emulator: rows of letters as a user sees them, with the control sequences that the binary uses.
//! When its window changes, wrapped rows are joined and wrapped again, as most terminals do.

/// The screen, with everything that has scrolled away.
pub struct Glass {
    columns: usize,
    rows: Vec<Row>,
    row: usize,
    column: usize,
    wrap: bool,
    /// The last column is taken: the next letter begins a new row.
    full: bool,
    /// A control sequence that is not complete.
    sequence: String,
    /// Bytes of a letter that is not complete.
    rest: Vec<u8>,
}

#[derive(Clone, Default)]
struct Row {
    cells: Vec<char>,
    /// Continues in the next row.
    wrapped: bool,
}

impl Glass {
    pub fn new(columns: usize) -> Self {
        Self {
            columns,
            rows: vec![Row::default()],
            row: 0,
            column: 0,
            wrap: true,
            full: false,
            sequence: String::new(),
            rest: Vec::new(),
        }
    }

    /// The rows.
    pub fn rows(&self) -> Vec<String> {
        self.rows.iter().map(|row| row.cells.iter().collect()).collect()
    }

    /// The text that was written, independent of rows.
    pub fn lines(&self) -> Vec<String> {
        self.joined().into_iter().map(|row| row.cells.into_iter().collect()).collect()
    }

    pub fn take(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&self.rest) {
            Ok(_) => self.rest.len(),
            Err(error) => error.valid_up_to(),
        };
        let text = String::from_utf8(self.rest.drain(..whole).collect()).unwrap();
        assert!(self.rest.len() < 4, "not UTF-8: {:?}", self.rest);
        text.chars().for_each(|letter| self.letter(letter));
    }

    fn letter(&mut self, letter: char) {
        match letter {
            _ if !self.sequence.is_empty() => {
                self.sequence.push(letter);
                if letter.is_ascii_alphabetic() {
                    let sequence = std::mem::take(&mut self.sequence);
                    self.control(&sequence);
                }
            }
            '\x1b' => self.sequence.push(letter),
            '\r' => (self.column, self.full) = (0, false),
            '\n' => {
                self.full = false;
                self.next_row();
            }
            letter => {
                assert!(!letter.is_control(), "{letter:?} reaches the terminal");
                self.show(letter);
            }
        }
    }

    fn control(&mut self, sequence: &str) {
        match sequence {
            "\x1b[J" => {
                self.rows.truncate(self.row + 1);
                self.rows[self.row].cells.truncate(self.column);
                self.rows[self.row].wrapped = false;
            }
            "\x1b[H" => (self.row, self.column, self.full) = (0, 0, false),
            "\x1b[2J" => self.rows.iter_mut().for_each(|row| *row = Row::default()),
            "\x1b[K" => {
                let row = &mut self.rows[self.row];
                row.cells.truncate(self.column);
                row.wrapped = false;
            }
            "\x1b[?7l" => self.wrap = false,
            "\x1b[?7h" => self.wrap = true,
            colour if colour.ends_with('m') => {}
            other => panic!("the emulator does not know {other:?}"),
        }
    }

    fn next_row(&mut self) {
        self.row += 1;
        if self.row == self.rows.len() {
            self.rows.push(Row::default());
        }
    }

    fn show(&mut self, letter: char) {
        if self.full && self.wrap {
            self.rows[self.row].wrapped = true;
            self.next_row();
            (self.column, self.full) = (0, false);
        }
        let cells = &mut self.rows[self.row].cells;
        if cells.len() <= self.column {
            cells.resize(self.column + 1, ' ');
        }
        cells[self.column] = letter;
        if self.column + 1 == self.columns {
            self.full = true;
        } else {
            self.column += 1;
        }
    }

    /// Rows as they were written.
    fn joined(&self) -> Vec<Row> {
        let mut all: Vec<Row> = Vec::new();
        for row in &self.rows {
            match all.last_mut() {
                Some(last) if last.wrapped => {
                    last.cells.extend(&row.cells);
                    last.wrapped = row.wrapped;
                }
                _ => all.push(row.clone()),
            }
        }
        all
    }

    /// Sets the width of the window.
    pub fn resize(&mut self, columns: usize) {
        // The position of the cursor: its line and letter.
        let (mut line, mut letter) = (0, self.column);
        for row in &self.rows[..self.row] {
            if row.wrapped {
                letter += row.cells.len();
            } else {
                (line, letter) = (line + 1, self.column);
            }
        }
        let lines = self.joined();
        self.columns = columns;
        self.rows.clear();
        for (at, one) in lines.iter().enumerate() {
            let first = self.rows.len();
            let mut pieces: Vec<&[char]> = one.cells.chunks(columns).collect();
            if pieces.is_empty() {
                pieces.push(&[]);
            }
            for (number, piece) in (1..).zip(&pieces) {
                self.rows.push(Row { cells: piece.to_vec(), wrapped: number < pieces.len() });
            }
            if at == line {
                self.row = (first + letter / columns).min(self.rows.len() - 1);
                self.column = letter % columns;
            }
        }
        self.full = false;
    }
}

#[test]
fn the_emulator_wraps_erases_and_wraps_again() {
    let mut glass = Glass::new(10);
    glass.take(b"a news\r\n0123456789abc\r\n\x1b[31mlive\x1b[0m line\r");
    assert_eq!(glass.rows(), ["a news", "0123456789", "abc", "live line"]);
    assert_eq!(glass.lines(), ["a news", "0123456789abc", "live line"]);
    glass.resize(4);
    assert_eq!(glass.rows(), ["a ne", "ws", "0123", "4567", "89ab", "c", "live", " lin", "e"]);
    glass.take("\x1b[J\x1b[?7lnärrow".as_bytes());
    assert_eq!(glass.rows()[5..], ["c", "närw"], "without wrap the last column is written over");
    glass.resize(20);
    assert_eq!(glass.rows(), ["a news", "0123456789abc", "närw"]);
    // A cursor at the end of a line that wraps is in its last row: an erase from there keeps the first rows.
    let mut glass = Glass::new(10);
    glass.take(b"live line");
    glass.resize(6);
    glass.take(b"\r\x1b[Jnext");
    assert_eq!(glass.rows(), ["live l", "next"]);
}
