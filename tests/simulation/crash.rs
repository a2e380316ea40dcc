//! Crashes, and the search for the state that one has left: of those that the model passed through, exactly one must be
//! what the vault finds when it begins again.

use super::model::Model;
use super::ops::{Op, ROLES, Temper, Torn};
use super::wal::{self, Files, Position};
use super::world::{Planted, Step, World};

impl World {
    /// The step is done, its answer heard by nobody; then the process is gone, and of what the step wrote only a part is
    /// on the disk.
    pub async fn crash(&mut self, during: Option<&Op>, after: u8, torn: Torn) -> Step {
        self.figures.crashes += 1;
        let (before, first) = (self.model.clone(), Position::of(&self.data));
        self.model.steps.clear();
        if let Some(op) = during {
            self.deaf = true;
            let done = Box::pin(self.plain(op)).await;
            self.deaf = false;
            done?;
        }
        let now = Position::of(&self.data);
        let mut cut = wal::cut(&first, &now, after);
        if self.planted == Planted::LosesTheLast && self.former.is_before(&first) {
            cut = wal::cut(&self.former, &now, 0);
        }
        self.figures.cut += u64::from(cut < now.frames);
        let mut files = Files::read(&self.data);
        files.tear(cut, &now, torn, &mut self.dice);
        self.close();
        files.write(&self.data);
        self.far.back_to(cut, &now);
        if self.planted == Planted::ForgetsNonces {
            forget_nonces(&self.data);
        }
        self.open().await?;
        let whole = cut == now.frames;
        let mut candidates = std::mem::take(&mut self.model.steps);
        candidates.push(self.model.clone());
        if !whole {
            candidates.insert(0, before);
        } else {
            candidates.drain(..candidates.len() - 1);
        }
        candidates.iter_mut().for_each(|model| {
            model.now = self.model.now;
            model.start();
        });
        self.settle(candidates).await?;
        self.verify_all()
    }

    /// A step met a full disk: it did nothing, a part, or all.
    pub async fn settle_for(&mut self, before: Model, asked: Option<u64>) -> Step {
        let mut steps = std::mem::take(&mut self.model.steps);
        steps.insert(0, before);
        let after = self.model.clone();
        let mut candidates = Vec::new();
        for mut step in steps {
            step.now = after.now;
            step.steps.clear();
            let mut abandoned = step.clone();
            asked.into_iter().for_each(|number| abandoned.abandon(number));
            candidates.extend([step, abandoned]);
        }
        candidates.push(after);
        self.settle(candidates).await
    }

    /// Goes on with the one of these that is what there is: the last that fits.
    async fn settle(&mut self, candidates: Vec<Model>) -> Step {
        self.look().await?;
        let mut nearest: Vec<String> = Vec::new();
        for model in candidates.into_iter().rev() {
            let found = self.differences(&model);
            if found.is_empty() {
                self.model = model;
                self.model.steps.clear();
                return self.learn();
            }
            if nearest.is_empty() || found.len() < nearest.len() {
                nearest = found;
            }
        }
        Err(format!("no state that there was fits what is left; the nearest differs in\n{}", nearest.join("\n")))
    }

    /// The end of a run: with backends that serve again and time enough, nothing is left over.
    pub async fn come_to_rest(&mut self) -> Step {
        self.full(false).await?;
        for place in &ROLES[1..] {
            self.far.temper(place, Temper::Well);
        }
        let rest = self.latest.max(self.model.newest) + 700_000;
        let ahead = i64::try_from((rest - self.model.now).div_ceil(1000)).unwrap_or_default();
        // What is abandoned only now may still be on its way for a minute.
        for op in [Op::Clock(ahead), Op::Tend, Op::Clock(100), Op::Tend, Op::Undo, Op::Sweep] {
            self.step(&op).await.map_err(|why| format!("at the end, {op:?}: {why}"))?;
        }
        if let Some((number, lease)) = self.model.leases.iter().find(|(_, lease)| lease.owed) {
            return Err(format!("a backend is still owed lease {number}: {lease:?}"));
        }
        for place in &ROLES[1..] {
            let there = self.far.there(place);
            if let Some(handle) = there.credentials.keys().find(|handle| !self.answered_for(handle)) {
                return Err(format!("an orphan is left at {place}: {handle}"));
            }
        }
        self.verify_all()
    }
}

fn forget_nonces(data: &std::path::Path) {
    let database = rusqlite::Connection::open(data.join("vault.db")).unwrap();
    database.execute_batch("DELETE FROM nonces; DELETE FROM nonces_live;").unwrap();
}
