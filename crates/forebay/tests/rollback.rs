//! A pool started from an old copy of its journal, or beside itself, signs nothing and says why [I14].
#![allow(clippy::unwrap_used)]

mod world;

use std::path::Path;
use std::process::Command;

use forebay_chain_evm::{EffectStore, Entry, FileStore};
use forebay_quantity::{EffectId, Hash32};
use world::packets::{Software, pay};
use world::{World, answer, units};

/// The files of a journal, whole: what the books of a pool are made of.
fn journal(data: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(data.join("journal"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("segment-"))
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp")
        .arg("-a")
        .args([from, to])
        .status()
        .unwrap();
    assert!(copied.success());
}

/// Adds an effect to a record of sent transactions that no journal here has come to; gives the record as it was.
fn foresee(record: &Path) -> Vec<u8> {
    let before = std::fs::read(record).unwrap();
    let (effect, request) = (EffectId(1_000), Hash32::ZERO);
    let mut store = FileStore::open(record).unwrap();
    store.append(&Entry::Asked { effect, request }).unwrap();
    before
}

/// Names the watchtower and both peers as witnesses, or some of them, or nobody.
fn name_witnesses(world: &World, config: &Path, peers: &[&str], with_tower: bool) {
    let mut table: toml::Table = std::fs::read_to_string(config).unwrap().parse().unwrap();
    let mut witnesses: Vec<toml::Value> = Vec::new();
    if with_tower {
        let pool = std::fs::read_to_string(world.path("pool/forebay.toml")).unwrap();
        let pool: toml::Table = pool.parse().unwrap();
        witnesses.push(pool["watchtowers"][0].clone());
    }
    for peer in peers {
        witnesses.push(toml::toml! { peer = (*peer) }.into());
    }
    table.remove("witnesses");
    if !witnesses.is_empty() {
        table.insert("witnesses".into(), toml::Value::Array(witnesses));
    }
    std::fs::write(config, toml::to_string(&table).unwrap()).unwrap();
}

/// What `forebay status` says of a pool that does not accept, once it does not.
fn stopped(world: &World, config: &Path) -> String {
    let config = config.display().to_string();
    world.wait("the pool has stopped accepting", || {
        let status = answer(&["--config", &config, "status"]).ok()?;
        status.contains("NOT accepting").then_some(status)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_journal_or_a_second_process_halts_with_a_clear_alarm_and_unchanged_books() {
    let mut world = World::start().await;
    let (data, config) = (world.path("pool/data"), world.path("pool/forebay.toml"));
    assert!(world.pool.terminate(), "{}", world.logs());
    copy(&data, &world.path("old"));

    // With two of three witnesses, one of them a peer, it goes on.
    name_witnesses(&world, &config, &["a", "b"], true);
    world.restart_pool();
    world.wait("the witnesses agree", || {
        world.pool.log().contains("witnesses agree").then_some(())
    });
    world.wait("both peers are back", || {
        let (a, b) = (world.view("a")?, world.view("b")?);
        (a["ready"] == true && b["ready"] == true).then_some(())
    });
    let mut a = Software::connect(&world.listen_a).await;
    let mut b = Software::connect(&world.listen_b).await;
    for id in 2..6 {
        pay(&mut a, &mut b, id, 20_000_000).await;
    }
    let held = world.wait("B is paid by voucher", || {
        let view = world.view("b")?;
        let is_paid = units(&view["received"]) > 0 && units(&view["unpaid"]) == 0;
        is_paid.then(|| units(&view["held"]))
    });
    assert!(held > 0);
    // The witnesses have heard of it: told once a second.
    std::thread::sleep(std::time::Duration::from_secs(3));
    world.pool.kill();

    // The old copy is refused, and not a byte of its journal changes.
    std::fs::rename(&data, world.path("newest")).unwrap();
    copy(&world.path("old"), &data);
    let before = journal(&data);
    world.restart_pool();
    assert_eq!(world.pool.ended(), Some(false), "{}", world.logs());
    assert!(
        world.pool.log().contains("it is an old copy"),
        "{}",
        world.pool.log()
    );
    assert_eq!(journal(&data), before, "the books are as they were");

    // The newest is taken back, and serves.
    std::fs::remove_dir_all(&data).unwrap();
    copy(&world.path("newest"), &data);
    world.restart_pool();
    world.wait("both peers are back", || {
        let (a, b) = (world.view("a")?, world.view("b")?);
        let agreed = world.pool.log().matches("witnesses agree").count() == 2;
        (agreed && a["ready"] == true && b["ready"] == true).then_some(())
    });
    pay(&mut a, &mut b, 6, 20_000_000).await;

    // A copy that is started beside it takes the place, and the one that ran before halts.
    world.wait("it is idle", || {
        let view = world.view("b")?;
        (units(&view["unpaid"]) == 0).then_some(())
    });
    std::thread::sleep(std::time::Duration::from_secs(3));
    let twin = world.path("twin");
    copy(&world.path("pool"), &twin);
    let twin_config = twin.join("forebay.toml");
    let text = std::fs::read_to_string(&twin_config).unwrap();
    let mut table: toml::Table = text.parse().unwrap();
    for field in ["btp_listen", "admin_listen"] {
        table.insert(field.into(), "127.0.0.1:0".into());
    }
    std::fs::write(&twin_config, toml::to_string(&table).unwrap()).unwrap();
    name_witnesses(&world, &twin_config, &[], true);
    let second = world::start_pool_in(&twin, "twin");
    let status = stopped(&world, &config);
    assert!(
        status.contains("another process has taken this pool over"),
        "{status}"
    );
    assert!(second.log().contains("witnesses agree"), "{}", second.log());
    drop(second);

    // Without witnesses an old copy starts, and the first peer that holds more than it knows stops it.
    world.pool.kill();
    std::fs::remove_dir_all(&data).unwrap();
    copy(&world.path("old"), &data);
    name_witnesses(&world, &config, &[], false);
    world.restart_pool();
    let status = stopped(&world, &config);
    assert!(status.contains("holds a voucher of this pool"), "{status}");
    let before = journal(&data);
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(journal(&data), before, "nothing is journalled any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_checked_when_it_is_made_and_put_back_and_the_newest_serves_again() {
    let mut world = World::start().await;
    let config = world.path("pool/forebay.toml").display().to_string();
    let home = world.path("pool");
    let mut a = Software::connect(&world.listen_a).await;
    let mut b = Software::connect(&world.listen_b).await;
    pay(&mut a, &mut b, 2, 20_000_000).await;
    // Taken while it runs.
    let early = world.path("early").display().to_string();
    let taken = world::done(&["--config", &config, "--json", "backup", &early]);
    let taken: serde_json::Value = serde_json::from_str(&taken).unwrap();
    assert!(taken["frames"].as_u64().unwrap() > 0, "{taken}");
    let again = answer(&["--config", &config, "backup", &early]);
    assert!(again.unwrap_err().contains("a folder of its own"));
    let refused = answer(&["--config", &config, "restore", &early]);
    assert!(refused.unwrap_err().contains("move it away first"));

    // The one that counts: taken of a pool that was stopped.
    assert!(world.pool.terminate(), "{}", world.logs());
    let backup = world.path("backup");
    let newest = backup.display().to_string();
    let taken = world::done(&["--config", &config, "--json", "backup", &newest]);
    let taken: serde_json::Value = serde_json::from_str(&taken).unwrap();

    // Beside a record of transactions that knows more, neither a pool nor a peer's side starts.
    let (record, ahead) = (home.join("data/chain-31337.sent"), "knows effect 1000");
    let before = foresee(&record);
    world.restart_pool();
    assert_eq!(world.pool.ended(), Some(false), "{}", world.logs());
    assert!(world.pool.log().contains(ahead), "{}", world.pool.log());
    std::fs::write(&record, before).unwrap();
    assert!(world.peer_a.terminate(), "{}", world.logs());
    let record = world.path("a/data/sent");
    let before = foresee(&record);
    world.peer_a = world::start_peer(&world.path(""), "a");
    assert_eq!(world.peer_a.ended(), Some(false), "{}", world.logs());
    assert!(world.peer_a.log().contains(ahead), "{}", world.peer_a.log());
    std::fs::write(&record, before).unwrap();
    world.peer_a = world::start_peer(&world.path(""), "a");

    std::fs::rename(&home, world.path("lost")).unwrap();
    std::fs::create_dir(&home).unwrap();

    // A backup that was tampered with is not put in place.
    let segment = backup.join("data/journal/segment-0000000000");
    let sound = std::fs::read(&segment).unwrap();
    let mut damaged = sound.clone();
    damaged[4096 + 100] ^= 1;
    std::fs::write(&segment, damaged).unwrap();
    let restore = ["--config", &config, "--json", "restore", &newest];
    assert!(answer(&restore).is_err());
    assert!(!home.join("data").exists(), "nothing was put in place");
    std::fs::write(&segment, sound).unwrap();

    let restored: serde_json::Value = serde_json::from_str(&world::done(&restore)).unwrap();
    assert_eq!(
        (&restored["hash"], &restored["frames"]),
        (&taken["hash"], &taken["frames"])
    );
    world.restart_pool();
    world.wait("both peers are back", || {
        let (a, b) = (world.view("a")?, world.view("b")?);
        let is_back = world.pool.log().matches("serving").count() == 2;
        (is_back && a["ready"] == true && b["ready"] == true).then_some(())
    });
    let mut a = Software::connect(&world.listen_a).await;
    pay(&mut a, &mut b, 3, 20_000_000).await;
}
