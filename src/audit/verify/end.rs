//! What only the end of a chain can tell: whether it reaches as far as what is held of it, whether anything stands twice,
//! and so the verdict.

use super::Pins;
use super::operators::Commands;
use super::report::{Fault, Finding, Report, Verdict};
use super::restores::Claim;
use super::verifier::{Trail, Verifier};
use crate::audit::shown::printable;

impl Verifier<'_> {
    /// The last line has no LF: it is torn where it is not even whole JSON.
    pub(super) fn last(&mut self, line: &[u8]) {
        let torn = serde_json::from_slice::<serde::de::IgnoredAny>(line).is_err_and(|why| why.is_eof());
        if torn && self.verdict.is_none() {
            let (entry, line) = (self.size(), self.line_number());
            let how = "the file breaks off inside this entry; what stands before it is intact".to_owned();
            self.verdict = Some(Verdict::Torn { entry, line, how });
        } else {
            self.unended = true;
            self.line(line);
        }
    }

    /// What only the end of the chain can tell.
    fn conclude(&mut self) -> Verdict {
        let missing = self
            .pins
            .heads
            .iter()
            .map(|seen| seen.size)
            .chain(self.receipts.iter().map(|named| named.entry.seq.saturating_add(1)))
            .max()
            .filter(|size| *size > self.size() && self.restores.from().is_none());
        if self.leaves.is_empty() {
            return Verdict::Unusable { how: "the file is empty".into() };
        }
        if let Some(held) = missing {
            let fault = if self.pins.heads.iter().any(|seen| seen.size == held) { Fault::Head } else { Fault::Receipt };
            return self.judgement(fault.found(format!(
                "the chain ends here, but entry {} of it is held elsewhere: its end was cut off",
                held - 1
            )));
        }
        if let Some(keys) = &self.keys {
            let Pins { checkpoints, policy, .. } = self.pins;
            let restored = self.origin.as_ref().map_or(0, |(origin, _)| origin.restored);
            match self.checkpoints.settle(checkpoints, policy.as_ref(), keys.identity(), restored) {
                Ok(lost) => {
                    for at in lost {
                        let kept = checkpoints[at].checkpoint();
                        let what = format!("the checkpoint of {} entries of {}", kept.size, kept.origin);
                        self.lost.claim(Claim::Checkpoint(at), self.restores.of_before(&what));
                    }
                }
                Err((Some(entry), finding)) => return self.back_at(entry, finding),
                Err((None, Finding::Unusable(how))) => return Verdict::Unusable { how: printable(&how) },
                Err((None, finding)) => return self.judgement(finding),
            }
        }
        self.beyond_the_end();
        self.compared = true;
        if let Some(puzzle) = self.not_understood.take() {
            return puzzle;
        }
        if let (Some(Trail::Agent(trail)), Some(to)) = (&self.trail, self.to)
            && let Err(finding) = trail.conclude(to)
        {
            return self.judgement(finding);
        }
        self.concluded = true;
        if let (Some(how), Some(from)) = (self.lost.said(), self.restores.from()) {
            let line = from.saturating_sub(self.leaves.first()) + 1;
            return Verdict::Lost { entry: from, line, how: printable(&how) };
        }
        match (self.pins.max_age, self.to) {
            (Some((now, age)), Some(to)) if to.plus(age) < now => {
                Verdict::Stale { how: format!("the newest entry is of {to}, more than {age} before {now}") }
            }
            _ => Verdict::Intact,
        }
    }

    /// What is held beyond the end of a chain that was restored was lost then, or else its end was cut off since.
    fn beyond_the_end(&mut self) {
        let size = self.size();
        let cut = |what: String| format!("{what} lies beyond the end, lost to the restore or cut off since");
        for (at, seen) in self.pins.heads.iter().enumerate().filter(|(_, seen)| seen.size > size) {
            self.lost.claim(Claim::Head(at), cut(format!("the state {}:{}", seen.head, seen.size)));
        }
        for (at, named) in self.receipts.iter().enumerate().filter(|(_, named)| named.entry.seq >= size) {
            self.lost.claim(Claim::Receipt(at), cut(format!("the receipt of entry {}", named.entry.seq)));
        }
    }

    /// The verdict, after the last line.
    fn decide(&mut self) -> Verdict {
        let again = match &mut self.trail {
            Some(Trail::Agent(trail)) => trail.again(),
            Some(Trail::Operators(trail)) => trail.again(),
            _ => Ok(None),
        };
        match (again, self.verdict.take()) {
            // Whatever else was found is later: an entry whose repetition was found at once is not among these.
            (Ok(Some((entry, finding))), _) => self.back_at(entry, finding),
            (_, Some(verdict)) => verdict,
            (Ok(None), None) => self.conclude(),
            (Err(finding), None) => self.judgement(finding),
        }
    }

    /// The verdict of a finding at an entry that was passed already. What was counted since says nothing any more.
    fn back_at(&mut self, entry: u64, finding: Finding) -> Verdict {
        if let Err(why) = self.leaves.cut(entry) {
            return self.judgement(why.into());
        }
        self.to = self.leaves.newest();
        (self.trail, self.not_understood) = (None, None);
        self.kinds.clear();
        self.checkpoints.newest.retain(|seen| seen.size < entry);
        self.checkpoints.count = self.checkpoints.newest.len() as u64;
        self.judgement(finding)
    }

    /// The report, after the last line.
    #[must_use]
    pub fn finish(mut self) -> Report {
        let verdict = self.verdict_at_last();
        self.summary(verdict)
    }

    /// The verdict, with nothing left that only claims to be an entry: a line of a version that is not known, which no
    /// later entry names, may be anybody's.
    fn verdict_at_last(&mut self) -> Verdict {
        let verdict = self.decide();
        match self.leaves.cut(self.vouched.min(self.size())) {
            Ok(()) => verdict,
            Err(why) => self.judgement(why.into()),
        }
    }

    /// The report of `_operators`, with its commands where it is intact.
    #[must_use]
    pub fn finish_operators(mut self) -> (Report, Option<Commands>) {
        let verdict = self.verdict_at_last();
        let report = self.summary(verdict);
        let commands = match self.trail {
            Some(Trail::Operators(trail)) if report.verdict == Verdict::Intact => {
                Some(trail.into_commands(report.size))
            }
            _ => None,
        };
        (report, commands)
    }
}
