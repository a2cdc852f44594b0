//! Transactions by their names, and what a server's binary log says that it has had: for each domain and server the last.

use std::fmt;

/// One transaction's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Gtid {
    pub(super) domain: u32,
    pub(super) server: u32,
    pub(super) number: u64,
}

/// As `@@gtid_binlog_state`: within a domain, the last transaction of all stands last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct GtidState(Vec<Gtid>);

impl Gtid {
    fn read(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let gtid = Self {
            domain: parts.next()?.parse().ok()?,
            server: parts.next()?.parse().ok()?,
            number: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(gtid)
    }
}

impl GtidState {
    /// Reads a list; `None`: it is none.
    pub(super) fn read(text: &str) -> Option<Self> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(Gtid::read).collect::<Option<Vec<_>>>().map(Self)
    }

    /// From the head of a file of a binary log.
    pub(super) const fn of(list: Vec<Gtid>) -> Self {
        Self(list)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Gtid> {
        self.0.iter().copied()
    }

    /// The last number of a server in a domain.
    pub(super) fn number(&self, domain: u32, server: u32) -> Option<u64> {
        self.iter().find(|it| (it.domain, it.server) == (domain, server)).map(|it| it.number)
    }

    /// Whether the transaction is among what this server has had.
    pub(super) fn has(&self, gtid: Gtid) -> bool {
        self.number(gtid.domain, gtid.server).is_some_and(|number| gtid.number <= number)
    }

    /// One more transaction, the last of its domain.
    pub(super) fn advance(&mut self, gtid: Gtid) {
        self.0.retain(|it| (it.domain, it.server) != (gtid.domain, gtid.server));
        self.0.push(gtid);
    }

    /// What is in either, this one's order behind the other's.
    #[must_use]
    pub(super) fn joined(&self, other: &Self) -> Self {
        let mut joined = other.clone();
        for gtid in self.iter() {
            let known = joined.number(gtid.domain, gtid.server).unwrap_or(0);
            joined.advance(Gtid { number: gtid.number.max(known), ..gtid });
        }
        joined
    }

    /// As `@@gtid_binlog_pos`: the last of each domain.
    pub(super) fn position(&self) -> Self {
        let is_last = |(index, gtid): &(usize, &Gtid)| {
            !self.0[index + 1..].iter().any(|later| later.domain == gtid.domain)
        };
        Self(self.0.iter().enumerate().filter(is_last).map(|(_, gtid)| *gtid).collect())
    }

    /// What a server had that stood like this a little earlier and like `after` a little later, at `position`, where a
    /// backup of it ends. In a domain numbers only grow, so that who wrote what until then shows in its number.
    pub(super) fn at(&self, position: &Self, after: &Self) -> Self {
        let mut state = Self::default();
        for gtid in after.joined(self).iter() {
            let Some(end) = position.iter().find(|it| it.domain == gtid.domain) else {
                continue;
            };
            if gtid.number <= end.number {
                state.advance(gtid);
            } else if let Some(number) = self.number(gtid.domain, gtid.server) {
                state.advance(Gtid { number, ..gtid });
            }
        }
        for gtid in position.iter() {
            state.advance(gtid);
        }
        state
    }
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.domain, self.server, self.number)
    }
}

impl fmt::Display for GtidState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, gtid) in self.0.iter().enumerate() {
            write!(f, "{}{gtid}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(text: &str) -> GtidState {
        GtidState::read(text).unwrap()
    }

    #[test]
    fn a_state_reads_back_and_nothing_else_is_one() {
        for text in ["", "0-1-5", "0-1-5,0-2-7,4-1-1"] {
            assert_eq!(state(text).to_string(), text);
        }
        assert_eq!(state("0-1-5,\n0-2-7").to_string(), "0-1-5,0-2-7");
        for text in ["x", "0-1", "0-1-2-3", "0-1-99999999999999999999", "0--1"] {
            assert_eq!(GtidState::read(text), None, "{text}");
        }
    }

    #[test]
    fn a_transaction_is_missing_where_its_server_got_less_far_however_long_the_log_is() {
        let known = state("0-1-22936,0-3-22939");
        let has = |text: &str| known.has(Gtid::read(text).unwrap());
        assert!(has("0-1-22936") && has("0-3-1"));
        assert!(!has("0-1-22937") && !has("0-2-1") && !has("1-1-1"));
    }

    #[test]
    fn the_last_of_a_domain_is_its_position() {
        let mut log = state("0-1-5,0-2-7,4-1-1");
        assert_eq!(log.position().to_string(), "0-2-7,4-1-1");
        log.advance(Gtid { domain: 0, server: 1, number: 8 });
        assert_eq!(log.position().to_string(), "4-1-1,0-1-8");
        assert_eq!(log.to_string(), "0-2-7,4-1-1,0-1-8");
    }

    #[test]
    fn a_copy_has_had_what_its_donor_had_where_the_backup_ends() {
        let before = state("0-1-5,0-2-7");
        // Written meanwhile, and on after the end.
        assert_eq!(before.at(&state("0-2-9"), &state("0-1-5,0-2-12")).to_string(), "0-1-5,0-2-9");
        // Another primary meanwhile.
        assert_eq!(
            before.at(&state("0-3-10"), &state("0-1-5,0-2-8,0-3-11")).to_string(),
            "0-1-5,0-2-8,0-3-10"
        );
        // Another primary after the end.
        assert_eq!(before.at(&state("0-2-9"), &state("0-1-5,0-2-9,0-3-10")).to_string(), "0-1-5,0-2-9");
        assert_eq!(GtidState::default().at(&state(""), &state("0-1-1")).to_string(), "");
    }
}
