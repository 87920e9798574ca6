//! One event, one line: whatever a caller put into a name or a reason, it begins no line of its own in the log and
//! moves no cursor.

use std::io::{self, Write};

use tracing_subscriber::fmt::MakeWriter;

/// The longest line in bytes; the rest of a longer one is cut off.
const LONGEST: usize = 16 << 10;

/// Makes writers of whole events.
#[derive(Clone, Copy, Debug)]
pub(super) struct OneLine<M> {
    inner: M,
    /// Whether escape sequences are ours: values of fields have theirs escaped by then.
    has_colours: bool,
}

impl<M> OneLine<M> {
    /// Writes lines to `inner`.
    pub(super) fn new(inner: M, has_colours: bool) -> Self {
        Self { inner, has_colours }
    }
}

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for OneLine<M> {
    type Writer = Line<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Line { inner: self.inner.make_writer(), has_colours: self.has_colours }
    }
}

/// A writer of one event.
pub(super) struct Line<W> {
    inner: W,
    has_colours: bool,
}

impl<W: Write> Write for Line<W> {
    /// An event comes in one call, with the end of its line.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let line = escaped(&String::from_utf8_lossy(event), self.has_colours);
        self.inner.write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn escaped(event: &str, has_colours: bool) -> String {
    let event = event.strip_suffix('\n').unwrap_or(event);
    let mut line = String::with_capacity(event.len() + 1);
    for letter in event.chars() {
        if line.len() >= LONGEST {
            line.push('…');
            break;
        }
        // Also what ends a line for some readers, and what turns the direction of writing around.
        let is_hidden =
            matches!(letter, '\u{85}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        let is_colour = letter == '\u{1b}' && has_colours;
        if (letter.is_control() || is_hidden) && !is_colour {
            line.extend(letter.escape_default());
        } else {
            line.push(letter);
        }
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_stays_on_its_line() {
        let forged = "by eve\r\n2026-01-01 ERROR lrs: gone\u{2028}\u{202e}\u{7}\n";
        assert_eq!(escaped(forged, false), "by eve\\r\\n2026-01-01 ERROR lrs: gone\\u{2028}\\u{202e}\\u{7}\n");
        assert_eq!(escaped("größe \u{1b}[31m\n", false), "größe \\u{1b}[31m\n");
        assert_eq!(escaped("\u{1b}[31mred\n", true), "\u{1b}[31mred\n");
    }

    #[test]
    fn a_line_has_an_end() {
        let line = escaped(&"x".repeat(1 << 20), false);
        assert!(line.len() < LONGEST + 10 && line.ends_with("…\n"));
    }
}
