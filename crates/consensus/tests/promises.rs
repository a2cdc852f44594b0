//! One node alone, told by hand what its peers say: the votes that it must not give, and the order of its effects.

use backstay_consensus::{
    Body, Consensus, Durable, Effect, Entry, Input, Kind, MemberId, Message, RaftMessage, Refusal, Settings,
    VERSION,
};
use backstay_model::{Generation, NodeId, Term, Time};
use std::time::Duration;

const ME: NodeId = NodeId(1);
const LEADER: NodeId = NodeId(2);
const RIVAL: NodeId = NodeId(3);

struct Bench {
    node: Consensus,
    now: Time,
}

/// A node that met the given peers and was started long ago.
fn bench(met: &[NodeId]) -> Bench {
    let voters = vec![ME, LEADER, RIVAL];
    let settings = Settings::new(ME, "test".into(), Generation(1), voters, 5);
    let known = met.iter().map(|peer| (*peer, Generation(peer.0))).collect();
    let durable = Durable { known, ..Durable::default() };
    let now = Time::from_micros(1_000_000);
    let (node, _) = Consensus::new(settings, durable, now).unwrap();
    let now = now + Duration::from_millis(201);
    Bench { node, now }
}

fn raft(kind: Kind, term: u64) -> RaftMessage {
    RaftMessage {
        kind,
        term: Term(term),
        log_term: Term(0),
        index: 0,
        entries: Vec::new(),
        commit: 0,
        commit_term: Term(0),
        snapshot: None,
        reject: false,
        reject_hint: 0,
        handover: false,
        stamp: None,
    }
}

impl Bench {
    fn hear(&mut self, from: NodeId, message: RaftMessage) -> Vec<Effect> {
        let message = Message {
            cluster: "test".into(),
            from,
            from_generation: Generation(from.0),
            from_member: MemberId(from.0),
            version: VERSION,
            to: ME,
            to_member: MemberId(ME.0),
            body: Body::Raft(message),
        };
        self.node.step(self.now, Input::Message(message))
    }

    fn pass(&mut self, millis: u64) {
        self.now = self.now + Duration::from_millis(millis);
    }

    /// Campaigns and wins the first term, with one follower's confirmations: a leader with a lease.
    fn lead(&mut self) {
        while self.node.status().term == Term(0) {
            self.now = self.node.next_wakeup();
            self.node.step(self.now, Input::Wake);
            self.hear(RIVAL, raft(Kind::PreVoteResponse, 1));
        }
        self.hear(RIVAL, raft(Kind::VoteResponse, 1));
        let mut confirmed = raft(Kind::AppendResponse, 1);
        confirmed.index = 1;
        confirmed.stamp = Some(self.now);
        self.hear(RIVAL, confirmed);
        assert!(self.node.status().me_leading);
        assert!(self.node.status().lease_until > self.now);
    }
}

fn granted(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| match effect {
        Effect::Send { message, .. } => match &message.body {
            Body::Raft(raft) => {
                matches!(raft.kind, Kind::VoteResponse | Kind::PreVoteResponse) && !raft.reject
            }
            _ => false,
        },
        _ => false,
    })
}

#[test]
fn a_follower_keeps_its_promise_even_when_a_later_term_makes_raft_forget_the_leader() {
    let mut bench = bench(&[LEADER, RIVAL]);
    let mut heartbeat = raft(Kind::Heartbeat, 5);
    heartbeat.stamp = Some(Time::from_micros(77));
    let answer = bench.hear(LEADER, heartbeat);
    let echoed = answer.iter().any(|effect| {
        matches!(effect, Effect::Send { message, .. }
            if matches!(&message.body, Body::Raft(raft) if raft.stamp == Some(Time::from_micros(77))))
    });
    assert!(echoed, "the answer carries the leader's stamp");
    // A late answer to a question that this node asked before it heard the leader.
    let mut late = raft(Kind::PreVoteResponse, 6);
    late.reject = true;
    bench.pass(50);
    bench.hear(RIVAL, late);
    assert_eq!(bench.node.status().term, Term(6));
    assert!(!granted(&bench.hear(RIVAL, raft(Kind::Vote, 6))), "the leader may still hold a lease");
    bench.pass(151);
    assert!(granted(&bench.hear(RIVAL, raft(Kind::Vote, 6))));
}

#[test]
fn only_the_leaders_own_choice_gets_a_vote_before_the_promise_ends() {
    let mut bench = bench(&[LEADER, RIVAL]);
    bench.hear(LEADER, raft(Kind::Heartbeat, 5));
    bench.pass(10);
    assert!(!granted(&bench.hear(RIVAL, raft(Kind::PreVote, 6))));
    assert!(!granted(&bench.hear(RIVAL, raft(Kind::Vote, 6))));
    let mut chosen = raft(Kind::Vote, 6);
    chosen.handover = true;
    assert!(granted(&bench.hear(RIVAL, chosen)));
}

#[test]
fn a_node_that_has_not_met_every_voter_gives_no_vote() {
    let mut bench = bench(&[LEADER]);
    bench.pass(60_000);
    // Its generation is learned from this message; the third voter's was known, so now all are met.
    assert!(granted(&bench.hear(RIVAL, raft(Kind::Vote, 1))));
    let mut bench = self::bench(&[]);
    bench.pass(60_000);
    assert!(!granted(&bench.hear(RIVAL, raft(Kind::Vote, 1))));
    assert_eq!(bench.node.status().unmet, [LEADER]);
    assert_eq!(bench.node.status().term, Term(0));
}

#[test]
fn a_deposed_leader_gives_up_its_lease_before_it_does_anything_else() {
    let mut bench = bench(&[LEADER, RIVAL]);
    bench.lead();
    let effects = bench.hear(LEADER, raft(Kind::HeartbeatResponse, 9));
    assert!(matches!(effects[0], Effect::Leadership { me_leading: false, .. }));
    assert_eq!(effects[1], Effect::LeaseUntil(Time::ZERO));
    assert!(matches!(effects[2], Effect::Persist(_)));
}

#[test]
fn a_vote_is_durable_before_it_is_given() {
    let mut bench = bench(&[LEADER, RIVAL]);
    let effects = bench.hear(RIVAL, raft(Kind::Vote, 1));
    let Effect::Persist(persist) = &effects[0] else {
        panic!("{effects:?}");
    };
    assert_eq!(persist.hard.unwrap().vote, Some(MemberId(RIVAL.0)));
    assert!(granted(&effects[1..]));
}

#[test]
fn a_candidate_asks_again_while_it_waits_for_votes() {
    let mut bench = bench(&[LEADER, RIVAL]);
    while bench.node.status().term == Term(0) {
        bench.now = bench.node.next_wakeup();
        bench.node.step(bench.now, Input::Wake);
        bench.hear(RIVAL, raft(Kind::PreVoteResponse, 1));
    }
    bench.now = bench.node.next_wakeup();
    let again = bench.node.step(bench.now, Input::Wake);
    let asked = again.iter().filter(|effect| {
        matches!(effect, Effect::Send { message, .. }
            if matches!(&message.body, Body::Raft(raft) if raft.kind == Kind::Vote))
    });
    assert_eq!(asked.count(), 2);
}

#[test]
fn a_malformed_message_is_named_once_and_changes_nothing() {
    let mut bench = bench(&[LEADER, RIVAL]);
    let mut append = raft(Kind::Append, 5);
    append.entries.push(Entry { index: 7, term: Term(5), data: vec![1], change: None });
    let refused = bench.hear(LEADER, append.clone());
    assert!(matches!(refused[..], [Effect::Refused(Refusal::Malformed { .. })]));
    assert_eq!(bench.hear(LEADER, append), []);
    assert_eq!(bench.node.status().term, Term(0));
}
