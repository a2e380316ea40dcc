//! Which paths a rule allows. A path is compared as the server will read it: percent escapes are taken out once. What two
//! servers could read differently is not compared but refused: dot segments and empty ones, in whatever writing, escaped
//! slashes, backslashes and percent signs, control characters, and bytes that are no UTF-8.

/// A path, decoded, of which there is one reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plain(String);

impl Plain {
    /// Reads the path of a request, without its query.
    ///
    /// # Errors
    /// Why it could be read in two ways.
    pub(super) fn read(raw: &str) -> Result<Plain, &'static str> {
        if !raw.starts_with('/') {
            return Err("it does not begin with a slash");
        }
        let plain = decoded(raw)?;
        let mut segments = plain[1..].split('/').peekable();
        while let Some(segment) = segments.next() {
            // Some servers drop what follows a semicolon before they look at dots.
            match segment.split(';').next().unwrap_or_default() {
                // Others drop spaces behind them.
                dots if matches!(dots.trim_end(), "." | "..") => return Err("it holds a dot segment"),
                "" if segments.peek().is_some() || !segment.is_empty() => return Err("it holds an empty segment"),
                _ => {}
            }
        }
        Ok(Plain(plain))
    }
}

/// What becomes a dot, a slash or a backslash where a server maps text to its plainest form (Unicode's NFKC, code pages).
const LOOKALIKES: [char; 11] = [
    '\u{ff0e}', '\u{2024}', '\u{2025}', '\u{2026}', '\u{fe52}', '\u{ff0f}', '\u{2044}', '\u{2215}', '\u{ff3c}',
    '\u{fe68}', '\u{2216}',
];

fn decoded(raw: &str) -> Result<String, &'static str> {
    let (mut plain, mut bytes) = (Vec::with_capacity(raw.len()), raw.bytes());
    while let Some(byte) = bytes.next() {
        let (byte, escaped) = if byte == b'%' {
            let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
            let (Some(high), Some(low)) = (digit(), digit()) else { return Err("it holds a broken escape") };
            (u8::try_from(high * 16 + low).map_err(|_| "it holds a broken escape")?, true)
        } else {
            (byte, false)
        };
        match byte {
            b'/' | b'%' | b';' if escaped => return Err("it holds an escaped slash, percent sign or semicolon"),
            b'\\' => return Err("it holds a backslash"),
            _ if byte.is_ascii_control() => return Err("it holds a control character"),
            b' ' | b'"' | b'#' | b'<' | b'>' | b'?' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x80.. if !escaped => {
                return Err("it holds a character that has to be escaped");
            }
            _ => plain.push(byte),
        }
    }
    let plain = String::from_utf8(plain).map_err(|_| "it is no UTF-8")?;
    match plain.contains(LOOKALIKES) {
        true => Err("it holds a character that may be read as a dot, slash or backslash"),
        false => Ok(plain),
    }
}

/// The paths that a rule names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    /// This one.
    Exact(String),
    /// Everything below; it ends in a slash.
    Below(String),
}

impl Pattern {
    /// Reads a pattern: a path, or a path that ends in `/*`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(text: &str) -> Result<Pattern, String> {
        let (path, below) = match text.strip_suffix("/*") {
            Some(path) => (format!("{path}/"), true),
            None => (text.to_owned(), false),
        };
        if path.contains('*') {
            return Err("a star stands at the end alone, after a slash".into());
        }
        let Plain(plain) = Plain::read(&path).map_err(|why| format!("{text:?} is no path: {why}"))?;
        Ok(if below { Pattern::Below(plain) } else { Pattern::Exact(plain) })
    }

    /// Whether it allows this path.
    pub(super) fn allows(&self, Plain(path): &Plain) -> bool {
        match self {
            Pattern::Exact(exact) => exact == path,
            Pattern::Below(folder) => path.starts_with(folder.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn allows(pattern: &str, path: &str) -> bool {
        let pattern = Pattern::read(pattern).unwrap();
        Plain::read(path).is_ok_and(|path| pattern.allows(&path))
    }

    #[test]
    fn a_pattern_allows_what_it_says() {
        for (pattern, path) in [
            ("/v1/models", "/v1/models"),
            ("/v1/models", "/v1/mod%65ls"),
            ("/v1/*", "/v1/"),
            ("/v1/*", "/v1/a/b"),
            ("/v1/*", "/v1/a/"),
            ("/*", "/"),
            ("/*", "/a"),
            ("/a b", "/a%20b"),
            ("/%c3%a9", "/%C3%A9"),
            ("/repos/o/r:x@y", "/repos/o/r:x@y"),
            ("/v1/*", "/v1/..."),
            ("/v1/*", "/v1/a;b=c"),
        ] {
            let pattern = pattern.replace(' ', "%20");
            assert!(allows(&pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("/v1/models", "/v1/models/"),
            ("/v1/models", "/v1/Models"),
            ("/v1/models", "/v1/models;x"),
            ("/v1/*", "/v1"),
            ("/v1/*", "/v2/"),
            ("/v1/*", "/v10/a"),
        ] {
            assert!(!allows(pattern, path), "{pattern} {path}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for path in [
            "",
            "*",
            "v1",
            "//",
            "//v1",
            "/v1//a",
            "/v1/.",
            "/v1/..",
            "/v1/../admin",
            "/v1/./a",
            "/v1/%2e%2e/admin",
            "/v1/.%2E/admin",
            "/v1/%2e",
            "/v1/..;/admin",
            "/v1/..;x=y/admin",
            "/v1/..%20/admin",
            "/v1/.%c2%a0",
            "/v1/%ef%bc%8e%ef%bc%8e/admin",
            "/v1/%e2%80%a5/admin",
            "/v1/a%ef%bc%8fb",
            "/v1/;/a",
            "/v1/;x",
            "/v1/a%2fb",
            "/v1/a%2Fb",
            "/v1/a%5cb",
            "/v1/a\\b",
            "/v1/%252e%252e/a",
            "/v1/%00",
            "/v1/%0d%0a",
            "/v1/%7f",
            "/v1/%c0%ae",
            "/v1/%ff",
            "/v1/%",
            "/v1/%4",
            "/v1/%zz",
            "/v1/%+1",
            "/v1/a b",
            "/v1/\u{e9}",
            "/v1/a#b",
            "/v1/%3b",
            "/v1/a|b",
            "/v1/{a}",
        ] {
            assert!(Plain::read(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn a_pattern_has_one_star_at_its_end() {
        for text in ["", "*", "v1/*", "/v1*", "/v1/*/a", "/**", "/v1/../*", "//*", "https://x/"] {
            assert!(Pattern::read(text).is_err(), "{text:?}");
        }
    }

    /// What a lenient server may make of a path: unescaped until nothing changes, backslashes and all, dots resolved.
    fn lenient(path: &str) -> Vec<String> {
        let mut text = path.as_bytes().to_vec();
        loop {
            let next = unescaped(&text);
            if next == text {
                break;
            }
            text = next;
        }
        let text = String::from_utf8_lossy(&text).replace('\\', "/");
        let mut out: Vec<String> = Vec::new();
        for segment in text.split('/') {
            match segment.split(';').next().unwrap_or_default() {
                "" | "." => {}
                ".." => drop(out.pop()),
                other => out.push(other.to_owned()),
            }
        }
        out
    }

    fn unescaped(text: &[u8]) -> Vec<u8> {
        let (mut out, mut at) = (Vec::new(), 0);
        while at < text.len() {
            let digits = text.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
            match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                Some(byte) if text[at] == b'%' => {
                    out.push(byte);
                    at += 3;
                }
                _ => {
                    out.push(text[at]);
                    at += 1;
                }
            }
        }
        out
    }

    proptest! {
        /// Whatever a lenient server makes of an allowed path lies below the folder that was allowed.
        #[test]
        fn no_server_is_led_out_of_the_folder(
            parts in prop::collection::vec(
                prop::sample::select(vec![
                    "/", "..", ".", "%2e", "%2E", "%2f", "%5c", "\\", ";", "%3b", "%", "25", "%25", "a", "b;c", "%61", "//", "%c0%ae",
                ]),
                0..12,
            ),
        ) {
            let path = format!("/v1/{}", parts.concat());
            if allows("/v1/*", &path) {
                prop_assert!(lenient(&path).first().is_some_and(|first| first == "v1"), "{}", path);
            }
        }
    }
}
