//! What somebody else wrote, on its way to a terminal: a file's name, or a sentence that quotes a file.

/// The text in one line, without characters that steer a terminal, show nothing, or turn the order of those around them:
/// each is a space.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if steers(c) { ' ' } else { c }).collect()
}

/// Control characters, and what Unicode has for format, direction and the ends of lines.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn nothing_that_steers_a_terminal_is_left() {
        assert_eq!(printable("kit\x1b[2K\r\u{9b}1A\u{202e}tcatni\u{2066}\u{2028}\u{200b}"), "kit [2K  1A tcatni   ");
        assert_eq!(printable("søren: 山 \u{2014} \u{fffd}"), "søren: 山 \u{2014} \u{fffd}");
    }
}
