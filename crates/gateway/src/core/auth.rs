//! Who a client is, and which protocol it speaks.

use super::answer::wrong_name;
use super::intake::{Taken, wait_for_answers};
use super::{Core, Key, add};
use crate::scan::Words;
use crate::settings::EndpointKind;

const WRONG: &[u8] = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n";
const SYNTAX: &[u8] = b"-ERR Syntax error in HELLO option\r\n";

impl Core {
    pub(super) fn auth(&mut self, key: Key, bytes: &[u8]) -> Taken {
        let words: Vec<&[u8]> = Words::of(bytes).skip(1).collect();
        let (user, password) = match words[..] {
            [password] => (&b"default"[..], password),
            [user, password] => (user, password),
            _ => return self.answer(key, b"-ERR wrong number of arguments for 'auth' command\r\n"),
        };
        if let Some(wait) = self.borrows(key) {
            return wait;
        }
        let open =
            self.clients.get(key).is_some_and(|it| self.endpoints[it.endpoint].settings.users.is_empty());
        if open && words.len() == 1 {
            return self.answer(
                key,
                b"-ERR AUTH <password> called without any password configured for the default user. \
                  Are you sure your configuration is correct?\r\n",
            );
        }
        let text = if self.sign_in(key, user, password) { &b"+OK\r\n"[..] } else { WRONG };
        self.answer(key, text)
    }

    pub(super) fn hello(&mut self, key: Key, bytes: &[u8]) -> Taken {
        let words: Vec<&[u8]> = Words::of(bytes).skip(1).collect();
        if let Some(wait) = self.borrows(key) {
            return wait;
        }
        let (resp3, mut options) = match words.split_first() {
            None => (None, &words[..]),
            Some((&b"2", options)) => (Some(false), options),
            Some((&b"3", options)) => (Some(true), options),
            Some((other, _)) if other.iter().all(u8::is_ascii_digit) => {
                return self.answer(key, b"-NOPROTO unsupported protocol version\r\n");
            }
            Some(_) => {
                return self.answer(key, b"-ERR Protocol version is not an integer or out of range\r\n");
            }
        };
        let (mut account, mut name) = (None, None);
        while let Some((option, rest)) = options.split_first() {
            options = match rest {
                [user, password, rest @ ..] if option.eq_ignore_ascii_case(b"AUTH") => {
                    account = Some((*user, *password));
                    rest
                }
                [text, rest @ ..] if option.eq_ignore_ascii_case(b"SETNAME") => {
                    if let Some(wrong) = wrong_name(text) {
                        return self.answer(key, wrong);
                    }
                    name = Some(*text);
                    rest
                }
                _ => return self.answer(key, SYNTAX),
            };
        }
        if account.is_some_and(|(user, password)| !self.sign_in(key, user, password)) {
            return self.answer(key, WRONG);
        }
        let Some(client) = self.clients.get_mut(key) else {
            return Taken::Ends;
        };
        if !client.authenticated {
            return self.answer(
                key,
                b"-NOAUTH HELLO must be called with the client already authenticated, otherwise the \
                  HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and \
                  select the RESP protocol version at the same time\r\n",
            );
        }
        if let Some(name) = name {
            client.name = name.into();
        }
        if let Some(resp3) = resp3
            && client.resp3 != resp3
        {
            client.resp3 = resp3;
            client.lane = Key::NONE;
            if !resp3 {
                client.notices = None;
            }
        }
        let text = self.welcome(key);
        self.answer(key, text.as_bytes())
    }

    /// Changes of identity and protocol wait until nothing is under way, and until no own connection would have to
    /// follow them.
    fn borrows(&mut self, key: Key) -> Option<Taken> {
        let client = self.clients.get_mut(key)?;
        if client.in_flight > 0 {
            return Some(wait_for_answers(client));
        }
        // A command may have been given up while the connection for it was opened.
        self.release_own(key);
        self.clients.get(key)?.own?;
        Some(
            self.answer(
                key,
                b"-ERR not possible through a gateway while subscribed, watching or tracking\r\n",
            ),
        )
    }

    fn sign_in(&mut self, key: Key, user: &[u8], password: &[u8]) -> bool {
        let Some(client) = self.clients.get_mut(key) else {
            return false;
        };
        let endpoint = &self.endpoints[client.endpoint];
        let users = &endpoint.settings.users;
        if users.is_empty() {
            // As Redis: everybody is its default user, whose password is not asked for.
            return user == b"default";
        }
        // Every user is compared, so that the time tells nothing about which exist.
        let mut found = None;
        for (number, known) in users.iter().enumerate() {
            let right = known.password.is(password);
            if right & (known.name.as_bytes() == user) {
                found = Some(number);
            }
        }
        let Some(number) = found else {
            add(&endpoint.traffic.refused, 1);
            return false;
        };
        client.authenticated = true;
        client.user = Some(number);
        client.login = endpoint.login_of(number);
        client.lane = Key::NONE;
        true
    }

    /// The reply to `HELLO`.
    fn welcome(&self, key: Key) -> String {
        let Some(client) = self.clients.get(key) else {
            return String::new();
        };
        let endpoint = &self.endpoints[client.endpoint];
        let version = if endpoint.version.is_empty() { "7.0.0" } else { &endpoint.version };
        let role = match endpoint.settings.kind {
            EndpointKind::Primary => "master",
            EndpointKind::Reader { .. } => "replica",
        };
        let (header, proto) = if client.resp3 { ("%7", 3) } else { ("*14", 2) };
        format!(
            "{header}\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n${}\r\n{version}\r\n\
             $5\r\nproto\r\n:{proto}\r\n$2\r\nid\r\n:{}\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n\
             $4\r\nrole\r\n${}\r\n{role}\r\n$7\r\nmodules\r\n*0\r\n",
            version.len(),
            client.id,
            role.len(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::direction::{Direction, Target};
    use crate::settings::{Endpoint, EndpointLimits, Secret, Settings, User};
    use backstay_model::{Epoch, Time};
    use std::time::Duration;

    fn heard(core: &mut Core, client: Key) -> String {
        core.settle();
        let (output, sent) = core.client_output(client).unwrap();
        let text = String::from_utf8_lossy(&output[sent..]).into_owned();
        core.client_wrote(client, text.len());
        text
    }

    #[test]
    fn what_was_given_up_while_its_connection_opened_is_no_state() {
        let hold_max = Duration::from_millis(50);
        let limits = EndpointLimits { hold_max, ..EndpointLimits::default() };
        let endpoint = Endpoint { limits, ..Endpoint::new("shop", "shop".into(), EndpointKind::Primary) };
        let now = Time::from_micros(1_000_000);
        let mut core = Core::new(Settings { zone: String::new(), endpoints: vec![endpoint] }, now);
        core.tick();
        let client = core.client_opened(0, "somewhere").unwrap();
        let target = Target { address: "127.0.0.1:1".parse().unwrap(), host: "127.0.0.1".into() };
        let serve = Direction::Serve { epoch: Epoch(1), target, until: Time::MAX };
        core.route(&"shop".into(), &serve, &[]);
        core.client_read(client, b"BLPOP list 0\r\n");
        core.settle();
        core.set_now(now + hold_max * 2);
        core.tick();
        let text = heard(&mut core, client);
        assert!(text.starts_with('-') && text.matches('\n').count() == 1, "{text}");
        core.client_read(client, b"HELLO 3\r\n");
        assert!(heard(&mut core, client).starts_with("%7\r\n"));
    }

    #[test]
    fn nobody_is_signed_in_by_a_greeting_that_is_refused() {
        let users =
            vec![User { name: "app".into(), password: Secret::from("right".to_owned()), login: None }];
        let endpoint = Endpoint { users, ..Endpoint::new("shop", "shop".into(), EndpointKind::Primary) };
        let settings = Settings { zone: String::new(), endpoints: vec![endpoint] };
        let mut core = Core::new(settings, Time::from_micros(1_000_000));
        core.tick();
        let client = core.client_opened(0, "somewhere").unwrap();
        core.client_read(client, b"HELLO 3 AUTH app right SETNAME\r\n");
        assert_eq!(heard(&mut core, client).as_bytes(), SYNTAX);
        core.client_read(client, b"PING\r\n");
        assert!(heard(&mut core, client).starts_with("-NOAUTH"));
    }
}
