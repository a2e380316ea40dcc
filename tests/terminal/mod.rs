//! A program at a terminal: what it prints is what a person would see, and what is typed is typed. The terminal is one of
//! Python's (`pty`), since opening one takes what safe Rust has not.

#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]

use std::io::Write as _;
use std::process::{Command, Stdio};

/// Runs argv[1:] at a terminal of 80 columns; standard input is a list of JSON: what to wait for, and what to type then.
const DRIVER: &str = r"
import fcntl, json, os, pty, select, struct, sys, termios, time
steps = json.load(sys.stdin)
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack('HHHH', 24, int(os.environ.pop('WIDE', '80')), 0, 0))
    os.execvp(sys.argv[1], sys.argv[1:])
seen, at, end = b'', 0, time.monotonic() + 60
while time.monotonic() < end:
    if steps and steps[0][0].encode() in seen[at:]:
        at = len(seen)
        time.sleep(0.1)
        os.write(terminal, steps.pop(0)[1].encode() + b'\n')
    if select.select([terminal], [], [], 0.1)[0]:
        try:
            read = os.read(terminal, 4096)
        except OSError:
            break
        if not read:
            break
        seen += read
else:
    os.kill(pid, 9)
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
sys.stdout.buffer.write(seen)
sys.exit(99 if steps else code)
";

/// What was seen, and how it ended.
pub struct Terminal {
    pub seen: String,
    pub code: i32,
}

impl Terminal {
    /// Runs a command at a terminal. Each step is what to wait for, and the line to type then.
    pub fn run(command: &Command, steps: &[(&str, &str)]) -> Terminal {
        let mut driver = Command::new("python3");
        driver.args(["-c", DRIVER]).arg(command.get_program()).args(command.get_args()).env_clear();
        driver.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        driver.env("TERM", "xterm-256color");
        if let Some(folder) = command.get_current_dir() {
            driver.current_dir(folder);
        }
        let mut child = driver.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3 is here");
        let typed = serde_json::to_vec(steps).expect("texts");
        child.stdin.take().expect("it is piped").write_all(&typed).expect("it reads");
        let output = child.wait_with_output().expect("it ends");
        Terminal {
            seen: String::from_utf8_lossy(&output.stdout).into_owned(),
            code: output.status.code().unwrap_or(-1),
        }
    }

    /// What was seen, where it ended with this code.
    #[track_caller]
    pub fn ends(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}", self.seen);
        self.seen
    }
}
