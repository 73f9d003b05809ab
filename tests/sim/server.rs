//! Servers behind endpoints: what each does when, by a script.

/// What a server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// It answers well after about this time.
    Answers { ms: u64 },
    /// Its process has ended: connections are refused.
    Refuses,
    /// Packets are lost: connections are not established.
    BlackHole,
    /// It accepts connections and never answers.
    Freezes,
    /// This share of its answers is 503, the others are good.
    Unavailable { percent: u32 },
    /// It ends this share of its connections before the head of a response.
    Resets { percent: u32 },
    /// It ends this share of its responses in their bodies.
    BreaksBodies { percent: u32 },
}

/// A server with its script: what it does from which microsecond on. The first entry is at 0.
#[derive(Clone, Debug)]
pub struct Server(Vec<(u64, Behaviour)>);

/// A server that works as expected.
pub const WELL: Behaviour = Behaviour::Answers { ms: 5 };

impl Server {
    /// A server that does these things from these virtual milliseconds on. Until the first one it is well.
    pub fn new(script: &[(u64, Behaviour)]) -> Self {
        let mut all = vec![(0, WELL)];
        all.extend(script.iter().map(|(ms, behaviour)| (ms * 1000, *behaviour)));
        assert!(all.is_sorted_by_key(|(us, _)| *us), "a script is in the order of time: {all:?}");
        Self(all)
    }

    /// A server that is always well.
    pub fn well() -> Self {
        Self::new(&[])
    }

    /// What it does at a time.
    pub fn at(&self, us: u64) -> Behaviour {
        let past = self.0.partition_point(|(from, _)| *from <= us);
        self.0[past.saturating_sub(1)].1
    }

    /// The first change within a time, without its start.
    pub fn change_within(&self, from_us: u64, to_us: u64) -> Option<(u64, Behaviour)> {
        self.0.iter().copied().find(|(at, _)| (from_us + 1..=to_us).contains(at))
    }

    /// How often its process has ended: a connection from before the last time is dead.
    pub fn generation(&self, us: u64) -> usize {
        let ends = |(from, behaviour): &&(u64, Behaviour)| *from <= us && *behaviour == Behaviour::Refuses;
        self.0.iter().filter(ends).count()
    }

    /// Whether it answers every request of this time well.
    pub fn is_well_during(&self, from_us: u64, to_us: u64) -> bool {
        let is_well = |behaviour: Behaviour| matches!(behaviour, Behaviour::Answers { ms } if ms < SLOW_MS);
        let within = |(at, _): &&(u64, Behaviour)| (from_us + 1..=to_us).contains(at);
        is_well(self.at(from_us)) && self.0.iter().filter(within).all(|(_, behaviour)| is_well(*behaviour))
    }
}

/// A server whose answers take longer is not well: they may come after the time limit of a try.
pub const SLOW_MS: u64 = 100;
