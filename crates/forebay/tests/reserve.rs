//! The reserve on Bitcoin from both sides, by the real binary on a real bitcoind: what is above the cap is swept, what an LP
//! takes out beyond it is asked back, and two of three members sign. bitcoind judges, by the descriptor that was exported.
#![allow(clippy::unwrap_used)]

mod world;

use std::path::{Path, PathBuf};

use bitcoin::address::NetworkUnchecked;
use bitcoin::{Address, Amount};
use forebay_chain_bitcoin::bitcoind::Credentials;
use forebay_chain_bitcoin::bitcoind::regtest::{Regtest, RegtestSettings};
use serde_json::{Value, json};
use world::{Process, answer, done, start_pool_in};

const HOT_MAX_SAT: u64 = 1_000_000;
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

struct Drill {
    regtest: Regtest,
    /// Where the pool's interface listens.
    url: String,
    folder: tempfile::TempDir,
    pool: Option<Process>,
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn json_of(said: &str) -> Value {
    serde_json::from_str(said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

fn sat(value: &Value) -> u64 {
    value.as_str().unwrap().parse().unwrap()
}

impl Drill {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let settings = RegtestSettings::new(
            RegtestSettings::binary_in(&root),
            folder.path().join("bitcoind"),
        );
        let regtest = Regtest::start(settings).await.unwrap();
        regtest.mine(101).await.unwrap();
        Self {
            regtest,
            url: format!("http://127.0.0.1:{}", free_port()),
            folder,
            pool: None,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the pool's operator types; its JSON.
    fn operator(&self, arguments: &[&str]) -> Value {
        let config = self.path("pool/forebay.toml");
        let mut all = vec!["--json", "--config", text(&config)];
        all.extend(arguments);
        json_of(&done(&all))
    }

    /// What an LP types, with its own token.
    fn lp(&self, arguments: &[&str]) -> Result<Value, String> {
        let token = self.path("lp.token");
        let mut all = vec!["--json", "lp", "bitcoin", "--url", &self.url];
        all.extend(["--token-file", text(&token)]);
        all.extend(arguments);
        answer(&all).map(|said| json_of(&said))
    }

    /// What a member types, on a machine without a network.
    fn member(&self, command: &str, arguments: &[&str]) -> Result<String, String> {
        let descriptor = self.path("reserve.txt");
        let mut all = vec![
            "--json",
            "committee",
            "reserve",
            command,
            "--network",
            "regtest",
        ];
        if command != "key" {
            all.extend(["--descriptor", text(&descriptor)]);
        }
        all.extend(arguments);
        answer(&all)
    }

    /// Founds a pool whose reserve these members guard, two of them with the operator.
    fn found(&self, members: &[String]) {
        let settings = self.regtest.client_settings();
        let Credentials::User { name, password } = settings.credentials else {
            panic!("regtest has a user")
        };
        let (pool, bitcoin) = (self.path("pool"), format!("regtest={}", settings.url));
        let ports = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
        let interface = self.url.trim_start_matches("http://");
        done(&[
            "init",
            text(&pool),
            "--operator",
            "test.pool",
            "--bitcoin",
            &bitcoin,
            "--bitcoin-cookie",
            "none",
            "--btp-listen",
            &ports[0],
            "--admin-listen",
            interface,
            "--lightning-listen",
            &ports[1],
        ]);
        std::fs::write(pool.join("rpc-password"), password).unwrap();
        let path = pool.join("forebay.toml");
        let config = std::fs::read_to_string(&path).unwrap();
        let known = format!(
            "rpc_user = \"{name}\"\nrpc_password_file = \"rpc-password\"\nhot_max_sat = {HOT_MAX_SAT}\n"
        );
        let config = config.replace("cookie_file = \"none\"\n", &known);
        let members: Vec<_> = members.iter().map(|member| format!("{member:?}")).collect();
        let reserve = format!(
            "\n[bitcoin.reserve]\nthreshold = 2\nmembers = [{}]\n",
            members.join(", ")
        );
        std::fs::write(&path, config + &reserve).unwrap();
    }

    fn run(&mut self) {
        self.pool = Some(start_pool_in(&self.path("pool"), "pool"));
        let config = self.path("pool/forebay.toml");
        self.wait("the pool answers", || {
            answer(&["--json", "--config", text(&config), "bitcoin", "show"]).ok()
        });
    }

    fn wait<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let log = || self.pool.as_ref().map(Process::log).unwrap_or_default();
        let since = std::time::Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(since.elapsed() < PATIENCE, "waited until {what}\n{}", log());
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }

    async fn pay(&self, address: &str, amount_sat: u64) {
        let address: Address<NetworkUnchecked> = address.parse().unwrap();
        let amount = Amount::from_sat(amount_sat);
        let paid = self.regtest.pay(&address.assume_checked(), amount).await;
        paid.unwrap();
        self.regtest.mine(6).await.unwrap();
    }

    async fn mempool(&self) -> usize {
        let waiting: Vec<String> = self
            .regtest
            .client()
            .call("getrawmempool", &[])
            .await
            .unwrap();
        waiting.len()
    }

    /// One transaction waits in bitcoind's mempool.
    async fn waits(&self, what: &str) {
        let since = std::time::Instant::now();
        while self.mempool().await == 0 {
            let log = self.pool.as_ref().map(Process::log).unwrap_or_default();
            assert!(
                since.elapsed() < PATIENCE,
                "waited until {what} is in the mempool\n{log}"
            );
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        assert_eq!(self.mempool().await, 1, "{what}");
    }

    /// Mines it deep enough to be final.
    async fn bury(&self, what: &str) {
        self.waits(what).await;
        self.regtest.mine(6).await.unwrap();
    }

    /// Dies without notice, and is started again.
    fn kill(&mut self) {
        self.pool.as_mut().unwrap().kill();
        self.run();
    }

    /// Writes the draft that waits to a file.
    fn draft(&self, name: &str) -> (Value, PathBuf) {
        let draft = self.wait("a draft waits", || {
            let drafts = self.reserve()["drafts"].clone();
            let all = drafts.as_array().filter(|all| all.len() == 1);
            all.map(|all| all[0].clone())
        });
        let (number, file) = (draft["number"].to_string(), self.path(name));
        self.operator(&["bitcoin", "reserve", "draft", &number, text(&file)]);
        (draft, file)
    }

    fn sign(&self, name: &str, draft: &Path) -> PathBuf {
        let (key, out) = (self.path(name), draft.with_extension(name));
        let by = ["--key", text(&key), "--out", text(&out), text(draft)];
        self.member("sign", &by).unwrap();
        out
    }

    fn take(&self, copy: &Path) -> Value {
        let taken = self.operator(&["bitcoin", "reserve", "take", text(copy)]);
        taken["transaction"].clone()
    }

    /// What bitcoind's own unspent outputs hold under a descriptor, in satoshi.
    async fn unspent(&self, scanned: Value) -> u64 {
        let arguments = [json!("start"), json!([scanned])];
        let found: Value = self
            .regtest
            .client()
            .call("scantxoutset", &arguments)
            .await
            .unwrap();
        let total = found["total_amount"].as_f64().unwrap();
        Amount::from_btc(total).unwrap().to_sat()
    }

    fn reserve(&self) -> Value {
        self.operator(&["bitcoin", "reserve", "show"])
    }

    /// What `forebay books` says that the operator's key alone could take, in satoshi.
    fn hot(&self) -> u64 {
        let books = self.operator(&["books"]);
        sat(&books["assets"][0]["stolen_key_cost"]) / 1_000
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_above_the_cap_goes_to_the_reserve_and_members_give_back_what_lacks() {
    let mut drill = Drill::start().await;
    let mut members = Vec::new();
    for name in ["m0", "m1", "m2"] {
        let key = drill.path(name);
        done(&["keys", "new", text(&key)]);
        let made = drill.member("key", &["--key", text(&key)]).unwrap();
        members.push(json_of(&made)["key"].as_str().unwrap().to_owned());
    }
    drill.found(&members);
    drill.run();
    drill.operator(&["bitcoin", "add", "BTC"]);

    // Capital comes, and three quarters of the cap stay hot.
    let address = drill.operator(&["bitcoin", "address"]);
    drill
        .pay(address["address"].as_str().unwrap(), 4_000_000)
        .await;
    drill.bury("the sweep").await;
    drill.wait("the sweep is final", || {
        (sat(&drill.reserve()["total"]) == 3_250_000).then_some(())
    });
    let descriptor = drill.operator(&["bitcoin", "reserve", "descriptor"]);
    let descriptor = descriptor["descriptor"].as_str().unwrap().to_owned();
    std::fs::write(drill.path("reserve.txt"), &descriptor).unwrap();
    let scanned = json!({ "desc": descriptor, "range": 20 });
    assert_eq!(drill.unspent(scanned.clone()).await, 3_250_000);
    drill.wait("the books say what is hot", || {
        (700_000..=750_000).contains(&drill.hot()).then_some(())
    });
    let books = drill.operator(&["books"]);
    assert_eq!(sat(&books["assets"][0]["chain_reserved"]), 3_250_000_000);

    // Bitcoin Core derives the same addresses from the export as a member's own command.
    let described = json_of(&drill.member("describe", &[]).unwrap());
    let derived: Vec<String> = drill
        .regtest
        .client()
        .call("deriveaddresses", &[json!(descriptor), json!([0, 2])])
        .await
        .unwrap();
    assert_eq!(described["addresses"], json!(derived));

    // An LP pays in, all of which is swept, and takes out more than is hot.
    let payout = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";
    let address = drill.operator(&["bitcoin", "address", "--payout", payout]);
    let owner = address["owner"].as_str().unwrap().to_owned();
    drill
        .pay(address["address"].as_str().unwrap(), 2_000_000)
        .await;
    drill.bury("the second sweep").await;
    drill.wait("the second sweep is final", || {
        (sat(&drill.reserve()["total"]) > 5_000_000).then_some(())
    });
    let before = sat(&drill.reserve()["total"]);
    let token = drill.operator(&["tokens", "add", "lp", "--role", "lp", "--subject", &owner]);
    let token = token["token"].as_str().unwrap();
    std::fs::write(drill.path("lp.token"), format!("{token}\n")).unwrap();
    let too_much = drill.lp(&["withdraw", "2000000001"]).unwrap_err();
    assert!(too_much.contains("ask for less"), "{too_much}");
    let begun = drill.lp(&["withdraw", "1500000000"]).unwrap();
    assert_eq!(begun["withdrawals"][0]["address"], json!(payout));
    // A member reads it, signs, and alone is too few; a kill between them loses nothing.
    let (draft, file) = drill.draft("return.psbt");
    let said = json_of(&drill.member("show", &[text(&file)]).unwrap());
    assert_eq!(said["pays"].as_array().unwrap().len(), 1);
    assert_eq!(said["pays"][0]["amount"], json!(sat(&draft["pays"])));
    assert_eq!(said["operator_signed"], json!(true));
    assert_eq!(said["members_signed"], json!([false, false, false]));
    let spends = said["spends"].as_u64().unwrap();
    let rest = said["back_to_reserve"].as_u64().unwrap() + said["fee"].as_u64().unwrap();
    assert_eq!(spends, rest + sat(&draft["pays"]));
    let stranger = drill.path("stranger");
    done(&["keys", "new", text(&stranger)]);
    let refused = drill.member("sign", &["--key", text(&stranger), text(&file)]);
    assert!(
        refused
            .unwrap_err()
            .contains("neither the operator's nor a member's")
    );
    let signed = ["m0", "m2"].map(|name| drill.sign(name, &file));
    let alone = drill.member("finish", &[text(&signed[0])]).unwrap_err();
    assert!(alone.contains("1 of 2 signatures"), "{alone}");
    assert_eq!(drill.take(&signed[0]), json!(null));
    drill.kill();
    assert_eq!(
        drill.reserve()["drafts"][0]["members_signed"],
        json!([true, false, false])
    );
    let both: Vec<&str> = signed.iter().map(|path| text(path)).collect();
    let finished = json_of(&drill.member("finish", &both).unwrap());
    let txid = drill.take(&signed[1]);
    assert_eq!(txid, finished["txid"], "the operator makes the same of it");

    // The reserve pays the wallet, and the wallet the LP: once, though it dies when the payment is out.
    drill.bury("the return").await;
    drill.waits("the withdrawal").await;
    drill.kill();
    drill.bury("the withdrawal").await;
    drill.wait("the LP is paid", || {
        let lp = drill.lp(&["show"]).unwrap();
        lp["withdrawals"]
            .as_array()
            .unwrap()
            .is_empty()
            .then_some(())
    });
    let lp = drill.lp(&["show"]).unwrap();
    let paid = sat(&lp["withdrawn"]) / 1_000;
    assert!((1_490_000..1_500_000).contains(&paid), "{paid}");
    assert_eq!(drill.unspent(json!(format!("addr({payout})"))).await, paid);
    let after = sat(&drill.reserve()["total"]);
    assert_eq!(
        after,
        before - spends + said["back_to_reserve"].as_u64().unwrap()
    );
    assert_eq!(drill.unspent(scanned).await, after);
    assert!(drill.reserve()["drafts"].as_array().unwrap().is_empty());
    assert!(drill.hot() <= HOT_MAX_SAT, "{}", drill.hot());
    let books = drill.operator(&["books"]);
    assert_eq!(books["balanced"], json!(true));
    // What the books hold is what the wallet and the reserve hold.
    let shown = drill.operator(&["bitcoin", "show"]);
    let wallet = sat(&shown["confirmed"]) + sat(&shown["pending"]);
    assert_eq!(sat(&books["assets"][0]["vault"]) / 1_000, wallet + after);

    // What a stranger pays into the reserve is the pool's, and makes what is hot no smaller.
    let hot = drill.hot();
    let address = described["addresses"][1].as_str().unwrap();
    drill.pay(address, 200_000).await;
    let after = after + 200_000;
    drill.wait("it is booked", || {
        let books = drill.operator(&["books"]);
        let held = sat(&books["assets"][0]["vault"]) / 1_000;
        (held == wallet + after && drill.hot() == hot).then_some(())
    });

    // Copied and put back, wallet and reserve with it; not while it runs.
    let (home, copy) = (drill.path("pool"), drill.path("copy"));
    let config = home.join("forebay.toml");
    let backup = ["--config", text(&config), "backup", text(&copy)];
    let refused = answer(&backup).unwrap_err();
    assert!(refused.contains("when it is stopped"), "{refused}");
    assert!(!copy.exists(), "nothing was copied");
    assert!(drill.pool.as_mut().unwrap().terminate());
    done(&backup);
    std::fs::rename(&home, drill.path("lost")).unwrap();
    std::fs::create_dir(&home).unwrap();
    done(&["--config", text(&config), "restore", text(&copy)]);
    // What the configuration names besides is bitcoind's, not the pool's.
    let password = "rpc-password";
    std::fs::copy(drill.path("lost").join(password), home.join(password)).unwrap();
    drill.run();
    drill.wait("the reserve is seen again", || {
        (sat(&drill.reserve()["total"]) == after).then_some(())
    });
    let again = drill.operator(&["bitcoin", "show"]);
    assert_eq!(
        (&again["confirmed"], &again["pending"]),
        (&shown["confirmed"], &shown["pending"])
    );
    drill.regtest.mine(2).await.unwrap();
    let height = drill.regtest.client().tip().await.unwrap().height;
    drill.wait("the Lightning node has seen the blocks", || {
        let shown = drill.operator(&["bitcoin", "show"]);
        (shown["height"] == json!(height)).then_some(())
    });
    assert!(drill.pool.as_mut().unwrap().terminate());

    // The journal knows that the Lightning store was written since it was copied: the copy is refused, also without the file
    // beside it that says so.
    let store = "data/bitcoin/lightning.redb";
    std::fs::copy(copy.join(store), home.join(store)).unwrap();
    std::fs::remove_file(home.join("data/lightning.head")).unwrap();
    let mut refused = start_pool_in(&home, "pool");
    assert_eq!(refused.ended(), Some(false), "{}", refused.log());
    let log = refused.log();
    assert!(log.contains("is an old copy"), "{log}");
    assert!(log.contains("forebay bitcoin recover"), "{log}");
}
