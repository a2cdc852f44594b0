//! An old primary's data is replaced by a copy.

use super::support::{Bed, Running, ask, order, orders, state, until};
use crate::agent::words::{self, End, Greeting, Word};
use backstay_lab::servers::mariadb::Settings;
use backstay_lab::stack::mariadb::application;
use backstay_model::{Address, Method, Progress, Rebuild};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::net::TcpListener;

const SURPLUS: &str = "INSERT INTO shop.orders (note) VALUES ('surplus')";

#[test]
fn an_old_primary_is_copied_from_a_replica_while_orders_go_on_and_follows() {
    let bed = Bed::diverged(SURPLUS);
    let over = Arc::new(AtomicBool::new(false));
    let (stop, new) = (Arc::clone(&over), bed.new.clone());
    let shop = std::thread::spawn(move || {
        let mut link = new.connect_as(&application()).unwrap();
        let mut count = 0;
        while !stop.load(Ordering::Relaxed) {
            link.ask(&format!("INSERT INTO shop.orders (note) VALUES ('meanwhile {count}')")).unwrap();
            count += 1;
        }
        count
    });
    let (donor, agent) = (bed.agent(&bed.donor), bed.agent(&bed.old));
    let rebuild = bed.rebuild(Method::Copy, &donor);
    agent.order(Some(&rebuild), false);
    let (file, transactions) = agent.saved();
    assert_eq!(transactions, 1);
    let text = fs::read_to_string(file.unwrap()).unwrap();
    assert!(text.contains("### INSERT INTO `shop`.`orders`") && text.contains("'surplus'"), "{text}");
    assert!(!text.contains("common") && !text.contains("after") && !text.contains("meanwhile"), "{text}");
    assert!(bed.old.data().exists());
    agent.order(Some(&rebuild), true);
    assert_eq!(agent.done(), (Method::Copy, "a copy was asked for".to_owned()));
    over.store(true, Ordering::Relaxed);
    assert!(shop.join().unwrap() > 0);
    assert!(!orders(&bed.old).contains(&"surplus".to_owned()));
    bed.follows();
    bed.is_tidy();
}

#[test]
fn an_agent_that_is_cut_at_any_step_goes_on() {
    let bed = Bed::diverged("ALTER TABLE shop.orders ADD COLUMN extra INT");
    let donor = bed.agent(&bed.donor);
    let rebuild = bed.rebuild(Method::Auto, &donor);
    let mut seen = Vec::new();
    loop {
        let agent = bed.agent(&bed.old);
        agent.order(Some(&rebuild), true);
        let step = |progress: &Progress| std::mem::discriminant(progress);
        let news = || {
            let progress = agent.progress()?;
            (!seen.contains(&step(&progress))).then_some(progress)
        };
        let progress = backstay_lab::wait::wait_until("news", super::support::LIMIT, news).unwrap();
        seen.push(step(&progress));
        match progress {
            Progress::Done { method, .. } => {
                assert_eq!(method, Method::Copy);
                break;
            }
            Progress::Failed { why } => panic!("{why}"),
            _ => agent.cut(),
        }
    }
    assert!(seen.len() >= 4, "{}", seen.len());
    assert!(bed.saved("surplus.sql").contains("ALTER TABLE shop.orders"));
    bed.follows();
    bed.is_tidy();
}

#[test]
fn a_server_that_hangs_is_killed_and_what_only_it_held_is_saved_all_the_same() {
    let bed = Bed::diverged(SURPLUS);
    bed.group.stop("m1").unwrap();
    let mut options = bed.options(&bed.old);
    options.stop_patience = std::time::Duration::from_millis(300);
    let (donor, agent) = (bed.agent(&bed.donor), bed.agent_with(options));
    let rebuild = bed.rebuild(Method::Copy, &donor);
    agent.order(Some(&rebuild), false);
    assert_eq!(agent.saved().1, 1);
    agent.order(Some(&rebuild), true);
    agent.done();
    bed.follows();
}

#[test]
fn a_binary_log_beside_the_data_is_replaced_with_it() {
    let mut bed = Bed::diverged("DO 1");
    let history = state(&bed.old);
    bed.group.shut_down("m1").unwrap();
    let logs = bed.old.folder.join("logs");
    fs::create_dir(&logs).unwrap();
    bed.old.write_settings(&Settings::recipe().with("log_bin", "../logs/binlog")).unwrap();
    bed.group.start_again("m1").unwrap();
    ask(&bed.old, &format!("RESET MASTER; SET GLOBAL gtid_binlog_state='{history}'; {SURPLUS}"));
    let (donor, agent) = (bed.agent(&bed.donor), bed.agent(&bed.old));
    agent.order(Some(&bed.rebuild(Method::Copy, &donor)), true);
    agent.done();
    assert!(bed.saved("surplus.sql").contains("'surplus'"));
    bed.follows();
    bed.is_tidy();
    let names: Vec<_> = fs::read_dir(&logs).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| name.to_string_lossy().starts_with("binlog.")), "{names:?}");
    assert!(!names.iter().any(|name| name.to_string_lossy().contains("before")), "{names:?}");
}

#[test]
fn a_rebuild_that_is_withdrawn_leaves_the_server_as_it_was() {
    let bed = Bed::diverged(SURPLUS);
    let (donor, agent) = (bed.agent(&bed.donor), bed.agent(&bed.old));
    agent.order(Some(&bed.rebuild(Method::Copy, &donor)), false);
    agent.saved();
    agent.order(None, false);
    until("it runs again", || bed.old.answers());
    assert_eq!(orders(&bed.old), ["common", "surplus"]);
    until("it reports nothing", || agent.progress().is_none());
    bed.is_tidy();
}

/// Ends an agent once what only its instance held is saved; another one takes its place.
fn replaced_once_saved(bed: &Bed, rebuild: &Rebuild, meanwhile: impl FnOnce()) -> Running {
    let agent = bed.agent(&bed.old);
    agent.order(Some(rebuild), false);
    agent.saved();
    agent.cut();
    meanwhile();
    bed.agent(&bed.old)
}

#[test]
fn an_agent_that_comes_back_withdraws_what_nobody_wants_any_more() {
    let bed = Bed::diverged(SURPLUS);
    let donor = bed.agent(&bed.donor);
    let rebuild = bed.rebuild(Method::Copy, &donor);
    let agent = replaced_once_saved(&bed, &rebuild, || {});
    // A leader has spoken, and wants nothing.
    agent.order(None, true);
    until("it runs again", || bed.old.answers());
    assert_eq!(orders(&bed.old), ["common", "surplus"]);
    // What comes late begins nothing.
    agent.order(Some(&rebuild), true);
    let why = agent.failed();
    assert!(why.contains("not begun again") && bed.old.answers(), "{why}");
}

#[test]
fn a_swap_that_nobody_wants_any_more_is_left_as_it_lies() {
    let bed = Bed::diverged(SURPLUS);
    let donor = bed.agent(&bed.donor);
    let copy = bed.old.folder.join("data.rebuild-1");
    let agent = replaced_once_saved(&bed, &bed.rebuild(Method::Copy, &donor), || {
        let record = bed.rescue(&bed.old).join("orders-m1-1/record.json");
        let text = fs::read_to_string(&record).unwrap();
        let swapping = "{ \"swapping\": { \"history\": \"0-1-1\", \"because\": \"it was asked for\" } }";
        assert!(text.contains("\"saving\"") || text.contains("\"saved\""), "{text}");
        let text = text.replace("\"saved\"", swapping).replace("\"saving\"", swapping);
        fs::write(&record, text).unwrap();
        fs::create_dir(&copy).unwrap();
        // Somebody cancelled the rebuild, and uses the instance.
        start(&bed);
    });
    agent.order(None, true);
    let why = agent.failed();
    assert!(why.contains("left as it lies") && why.contains("data.rebuild-1 is the copy"), "{why}");
    assert!(bed.old.answers() && copy.exists());
    assert_eq!(orders(&bed.old), ["common", "surplus"]);
}

/// A donor that says these words, and `cut`s the connection or stays silent.
struct FalseDonor {
    address: Address,
    _stop: tokio::sync::oneshot::Sender<()>,
}

fn greeting(data_bytes: u64, version: &str) -> Word {
    Word::Greeting(Greeting {
        data_bytes,
        version: version.to_owned(),
        binlog_state: "0-1-1".to_owned(),
        slave_position: String::new(),
    })
}

fn false_donor(said: Vec<Word>, pieces: usize) -> FalseDonor {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (ready, port) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            ready.send(listener.local_addr().unwrap().port()).unwrap();
            let serve = async {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let ask = words::hear_ask(&mut stream).await.unwrap();
                    words::say(&mut stream, &said[0]).await.unwrap();
                    if ask.copy {
                        for _ in 0..pieces {
                            let _ = words::say_piece(&mut stream, &[0; 1000]).await;
                        }
                        for word in &said[1..] {
                            let _ = words::say(&mut stream, word).await;
                        }
                    }
                }
            };
            tokio::select! {
                () = serve => {}
                _ = stopped => {}
            }
        });
    });
    let port = port.recv().unwrap();
    FalseDonor { address: Address { host: "127.0.0.1".into(), port }, _stop: stop }
}

#[test]
fn a_copy_that_fails_leaves_the_old_data_and_says_why() {
    let bed = Bed::diverged(SURPLUS);
    let version = bed.old.value("SELECT VERSION()").unwrap();
    let end = Word::End(End { bytes: 5000, sha256: [0; 32], binlog_state: String::new() });
    let sorry = Word::Sorry("mariadb-backup failed".to_owned());
    let cases = [
        (vec![greeting(1000, &version)], 0, "ended the connection in the middle"),
        (vec![greeting(1000, &version), end], 0, "is not what was sent (0 of 5000 bytes)"),
        (vec![greeting(1000, &version)], 3, "mbstream failed"),
        (vec![greeting(1000, &version), sorry], 0, "said: mariadb-backup failed"),
        (vec![greeting(1 << 60, &version)], 0, "not enough space"),
        (vec![greeting(1000, "11.4.2-MariaDB")], 0, "the donor runs MariaDB 11.4 and this host"),
        (vec![Word::Sorry("this is cluster x".to_owned())], 0, "this is cluster x"),
    ];
    for (number, (said, pieces, reason)) in (1..).zip(cases) {
        let (donor, agent) = (false_donor(said, pieces), bed.agent(&bed.old));
        let any = bed.agent(&bed.donor);
        let rebuild =
            Rebuild { number, donor_agent: donor.address.clone(), ..bed.rebuild(Method::Copy, &any) };
        agent.order(Some(&rebuild), true);
        let why = agent.failed();
        assert!(why.contains(reason) || (pieces > 0 && why.contains("ended the connection")), "{why}");
        assert!(why.contains("its data in") || why.contains("Nothing was done to it"), "{why}");
        bed.is_tidy();
    }
    start(&bed);
    assert_eq!(orders(&bed.old), ["common", "surplus"]);
}

/// Starts the old primary on whatever data it has.
fn start(bed: &Bed) {
    if !bed.old.answers() {
        let options = bed.options(&bed.old);
        assert!(std::process::Command::new(&options.start[0]).status().unwrap().success());
        until("it runs again", || bed.old.answers());
    }
}

#[test]
fn a_donor_serves_one_at_a_time_and_ends_its_backup_when_nobody_takes_it() {
    let bed = Bed::diverged(SURPLUS);
    // More than a connection holds by itself.
    ask(&bed.new, "CREATE TABLE shop.bulk (id INT PRIMARY KEY, filling LONGBLOB)");
    for id in 0..3 {
        ask(&bed.new, &format!("INSERT INTO shop.bulk VALUES ({id}, REPEAT(RANDOM_BYTES(1000), 8000))"));
    }
    backstay_lab::stack::mariadb::await_same(&bed.donor, &bed.new).unwrap();
    let donor = bed.agent(&bed.donor);
    let call = || async {
        let dialler = crate::agent::dial::Dialler { cluster: "shop".into(), me: "m1".into(), keyring: None };
        dialler.call(&"m3".into(), &donor.address, true).await
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut first, _) = runtime.block_on(call()).unwrap();
    let mut piece = Vec::new();
    let heard = runtime.block_on(words::hear(&mut first, &mut piece)).unwrap();
    assert_eq!(heard, words::Heard::Piece);
    let (mut second, _) = runtime.block_on(call()).unwrap();
    match runtime.block_on(words::hear(&mut second, &mut piece)).unwrap() {
        words::Heard::Word(Word::Sorry(why)) => assert!(why.contains("being copied"), "{why}"),
        other => panic!("{other:?}"),
    }
    drop(first);
    until("another one is served", || {
        let (mut next, _) = runtime.block_on(call()).unwrap();
        let mut piece = Vec::new();
        matches!(runtime.block_on(words::hear(&mut next, &mut piece)), Ok(words::Heard::Piece))
    });
    order(&bed.new, "goes on");
}
