//! Reads Rust source as far as the architecture test needs: tokens with their lines, and the paths a file names.
//!
//! It is a reader, not a compiler. Comments and strings are left out, so that prose may speak of any room. A path is
//! followed from `crate`, `self` or `super` to the room it ends in, through `use` groups and inline modules alike.

/// One token: an identifier, `::`, or a single character. A string is `""`, a number or a character is `0`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
}

impl Token {
    fn is_ident(&self) -> bool {
        self.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

/// One path that a file names.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Named {
    /// From the root of the crate when `rooted`, else as written. A glob ends in `*`.
    pub(crate) path: Vec<String>,
    /// It began with `crate`, `self` or `super`.
    pub(crate) rooted: bool,
    pub(crate) line: usize,
}

/// The tokens of a source text.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let mut lexer = Lexer { chars: source.chars().collect(), at: 0, line: 1, out: Vec::new() };
    while lexer.at < lexer.chars.len() {
        lexer.step();
    }
    lexer.out
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    line: usize,
    out: Vec<Token>,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn skip(&mut self, count: usize) {
        for _ in 0..count {
            if self.peek(0) == '\n' {
                self.line += 1;
            }
            self.at += 1;
        }
    }

    fn push(&mut self, text: impl Into<String>, line: usize) {
        self.out.push(Token { text: text.into(), line });
    }

    fn step(&mut self) {
        let line = self.line;
        match (self.peek(0), self.peek(1)) {
            (c, _) if c.is_whitespace() => self.skip(1),
            ('/', '/') => self.until_end_of_line(),
            ('/', '*') => self.block_comment(),
            ('"', _) => {
                self.string();
                self.push("\"\"", line);
            }
            ('\'', _) => self.quote(line),
            (':', ':') => {
                self.skip(2);
                self.push("::", line);
            }
            (c, _) if c.is_ascii_digit() => {
                self.word();
                self.push("0", line);
            }
            (c, _) if c.is_alphabetic() || c == '_' => self.ident(line),
            (c, _) => {
                self.skip(1);
                self.push(c, line);
            }
        }
    }

    fn word(&mut self) -> String {
        let start = self.at;
        while self.peek(0).is_alphanumeric() || self.peek(0) == '_' {
            self.skip(1);
        }
        self.chars[start..self.at].iter().collect()
    }

    /// An identifier, or the prefix of a string that looks like one.
    fn ident(&mut self, line: usize) {
        let word = self.word();
        let raw = matches!(word.as_str(), "r" | "br" | "cr");
        let hashes = self.chars[self.at..].iter().take_while(|c| **c == '#').count();
        if raw && self.peek(hashes) == '"' {
            self.raw_string(hashes);
            self.push("\"\"", line);
        } else if word == "r" && hashes == 1 {
            self.skip(1);
            let word = self.word();
            self.push(word, line);
        } else if matches!(word.as_str(), "b" | "c") && self.peek(0) == '"' {
            self.string();
            self.push("\"\"", line);
        } else if word == "b" && self.peek(0) == '\'' {
            self.quote(line);
        } else {
            self.push(word, line);
        }
    }

    fn until_end_of_line(&mut self) {
        while self.at < self.chars.len() && self.peek(0) != '\n' {
            self.skip(1);
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        while self.at < self.chars.len() {
            match (self.peek(0), self.peek(1)) {
                ('/', '*') => depth += 1,
                ('*', '/') => depth -= 1,
                _ => {
                    self.skip(1);
                    continue;
                }
            }
            self.skip(2);
            if depth == 0 {
                return;
            }
        }
    }

    fn string(&mut self) {
        self.skip(1);
        while self.at < self.chars.len() && self.peek(0) != '"' {
            self.skip(if self.peek(0) == '\\' { 2 } else { 1 });
        }
        self.skip(1);
    }

    fn raw_string(&mut self, hashes: usize) {
        self.skip(hashes + 1);
        while self.at < self.chars.len() {
            let closed = self.peek(0) == '"' && (1..=hashes).all(|n| self.peek(n) == '#');
            if closed {
                self.skip(hashes + 1);
                return;
            }
            self.skip(1);
        }
    }

    /// After a single quote: a character or a lifetime.
    fn quote(&mut self, line: usize) {
        if self.peek(1) == '\\' {
            self.skip(3);
            while self.at < self.chars.len() && self.peek(0) != '\'' {
                self.skip(1);
            }
            self.skip(1);
        } else if self.peek(2) == '\'' {
            self.skip(3);
        } else {
            self.skip(1);
            self.word();
        }
        self.push("0", line);
    }
}

/// Every path that the file at `module` names: each leaf of a `use`, and each inline path of two segments or more.
/// Names that the file brings in itself are left out, since their `use` was already counted.
pub(crate) fn named(tokens: &[Token], module: &[String]) -> Vec<Named> {
    let mut reader =
        Reader { tokens, at: 0, module: module.to_vec(), inline: Vec::new(), depth: 0, ..Reader::default() };
    while reader.at < tokens.len() {
        reader.step();
    }
    let Reader { found, local, .. } = reader;
    found.into_iter().filter(|named| named.rooted || !local.contains(&named.path[0])).collect()
}

#[derive(Default)]
struct Reader<'t> {
    tokens: &'t [Token],
    at: usize,
    module: Vec<String>,
    /// The depth of braces at which each open inline module began.
    inline: Vec<usize>,
    depth: usize,
    local: Vec<String>,
    found: Vec<Named>,
}

impl Reader<'_> {
    fn text(&self, index: usize) -> &str {
        self.tokens.get(index).map_or("", |token| token.text.as_str())
    }

    fn before(&self, back: usize) -> &str {
        self.at.checked_sub(back).map_or("", |index| self.text(index))
    }

    fn step(&mut self) {
        match self.text(self.at) {
            "{" => self.depth += 1,
            "}" => {
                self.depth = self.depth.saturating_sub(1);
                if self.inline.last() == Some(&self.depth) {
                    self.inline.pop();
                    self.module.pop();
                }
            }
            "mod" => return self.module_line(),
            "use" if self.text(self.at + 1) != "<" => {
                self.at += 1;
                return self.use_tree(&[]);
            }
            "extern" if self.text(self.at + 1) == "crate" => {
                let name = self.text(self.at + 2).to_owned();
                self.at += 3;
                return self.record(vec![name], None);
            }
            _ if self.path_starts() => return self.inline_path(),
            _ => {}
        }
        self.at += 1;
    }

    fn module_line(&mut self) {
        let name = self.text(self.at + 1).to_owned();
        self.at += 2;
        self.local.push(name.clone());
        if self.text(self.at) == "{" {
            self.inline.push(self.depth);
            self.module.push(name);
        }
    }

    /// An identifier that `::` follows and nothing qualifies. `::name::` with nothing before it starts one as well.
    fn path_starts(&self) -> bool {
        let keyword = matches!(self.before(2), "as" | "dyn" | "for" | "impl" | "in" | "mut" | "return");
        let named = self.before(2).starts_with(|c: char| c == '>' || c.is_alphabetic() || c == '_');
        let global = self.before(1) == "::" && (keyword || !named);
        let qualified = matches!(self.before(1), "::" | ".") && !global;
        self.tokens[self.at].is_ident() && self.text(self.at + 1) == "::" && !qualified
    }

    fn inline_path(&mut self) {
        let mut path = vec![self.text(self.at).to_owned()];
        while self.text(self.at + 1) == "::" && self.tokens.get(self.at + 2).is_some_and(Token::is_ident) {
            path.push(self.text(self.at + 2).to_owned());
            self.at += 2;
        }
        self.record(path, None);
        self.at += 1;
    }

    /// One branch of a `use`, with what stands before it. Leaves `at` on what follows the branch.
    fn use_tree(&mut self, before: &[String]) {
        let mut path = before.to_vec();
        while self.at < self.tokens.len() {
            match self.text(self.at) {
                "::" => self.at += 1,
                "{" => {
                    self.at += 1;
                    while !matches!(self.text(self.at), "}" | ";" | "") {
                        self.use_tree(&path);
                        if self.text(self.at) == "," {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    return;
                }
                "," | "}" | ";" => return,
                "as" => {
                    let alias = self.text(self.at + 1).to_owned();
                    self.at += 2;
                    return self.record(path, Some(alias));
                }
                segment => {
                    path.push(segment.to_owned());
                    self.at += 1;
                    if !matches!(self.text(self.at), "::" | "as") {
                        let leaf = path.last().cloned();
                        return self.record(path, leaf);
                    }
                }
            }
        }
    }

    /// Notes a path, resolved against the module it stands in, and the name it binds here if it is a `use`.
    fn record(&mut self, mut path: Vec<String>, binds: Option<String>) {
        let line = self.tokens[self.at.min(self.tokens.len()).saturating_sub(1)].line;
        if path.len() > 1 && path.last().is_some_and(|leaf| leaf == "self") {
            path.pop();
            if binds.as_deref() == Some("self") {
                return self.record(path.clone(), path.last().cloned());
            }
        }
        let climbs = path.iter().take_while(|segment| *segment == "super" || *segment == "self").count();
        let rooted = climbs > 0 || path[0] == "crate";
        if path.len() > 1
            && let Some(name) = binds
        {
            self.local.push(name);
        }
        if path[0] == "crate" {
            path.remove(0);
        } else if climbs > 0 {
            let up = path.iter().take(climbs).filter(|segment| *segment == "super").count();
            let stem = self.module.len().saturating_sub(up);
            path = self.module[..stem].iter().cloned().chain(path.into_iter().skip(climbs)).collect();
        }
        self.found.push(Named { path, rooted, line });
    }
}
