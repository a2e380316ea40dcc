//! Values as they are typed: a text itself, `@FILE` for what is in a file, and `-` for standard input. A text that begins
//! with `@` is typed with two of them.

use std::io::Read as _;

/// The text that was typed, or what it leads to. One line end at its end is dropped.
pub(crate) fn text(typed: &str) -> Result<String, String> {
    let mut text = String::new();
    match typed.strip_prefix('@') {
        _ if typed == "-" => {
            std::io::stdin().read_to_string(&mut text).map_err(|why| format!("standard input: {why}"))?;
        }
        Some(literal) if literal.starts_with('@') => return Ok(literal.to_owned()),
        Some(file) => text = std::fs::read_to_string(file).map_err(|why| format!("{file}: {why}"))?,
        None => return Ok(typed.to_owned()),
    }
    let end = text.trim_end_matches('\n').trim_end_matches('\r').len();
    text.truncate(end);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_itself_or_what_is_in_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("why");
        std::fs::write(&file, "the laptop was stolen\n").unwrap();
        assert_eq!(text(&format!("@{}", file.display())).unwrap(), "the laptop was stolen");
        assert_eq!((text("plain").unwrap(), text("").unwrap()), ("plain".into(), String::new()));
        assert_eq!(text("@@home").unwrap(), "@home");
        assert!(text("@/nowhere/at/all").unwrap_err().contains("/nowhere/at/all"));
    }
}
