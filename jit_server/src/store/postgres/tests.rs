use super::real::Postgres;
use super::*;

#[tokio::test]
async fn a_commit_is_waited_for_also_where_the_database_would_not() {
    let postgres = Postgres::shared();
    for (set, found) in [
        ("off", "on"),
        ("local", "on"),
        ("remote_write", "on"),
        ("remote_apply", "remote_apply"),
    ] {
        let address = postgres.database();
        let name = address.split(['/', '?']).nth(3).unwrap();
        let alter = format!("ALTER DATABASE {name} SET synchronous_commit = {set}");
        in_database(postgres, &address, &alter);
        let store = PostgresStore::open(&address.parse().unwrap())
            .await
            .unwrap();
        for pool in [&store.writing, &store.reading] {
            let mut transaction = begin(pool, For::Usual).await.unwrap();
            let now: String = scalar("SHOW synchronous_commit")
                .fetch_one(&mut *transaction)
                .await
                .unwrap();
            assert_eq!(now, found);
        }
    }
}

fn in_database(postgres: &Postgres, address: &str, sql: &str) {
    let name = address.split(['/', '?']).nth(3).unwrap();
    let mut psql = postgres.program("psql");
    let done = psql.args([name, "-v", "ON_ERROR_STOP=1", "-qc", sql]);
    assert!(done.status().unwrap().success());
}

#[tokio::test]
async fn migrations_and_the_whole_record_take_as_long_as_they_take_and_nothing_else_does() {
    let postgres = Postgres::shared();
    let address = postgres.database();
    in_database(
        postgres,
        &address,
        "CREATE FUNCTION demand_time() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF current_setting('statement_timeout') <> '0' OR \
         current_setting('idle_in_transaction_session_timeout') <> '1min' THEN RAISE 'too little time'; END IF; END $$; \
         CREATE EVENT TRIGGER demand_time ON ddl_command_start EXECUTE FUNCTION demand_time()",
    );
    let store = PostgresStore::open(&address.parse().unwrap())
        .await
        .unwrap();
    in_database(
        postgres,
        &address,
        "DROP EVENT TRIGGER demand_time; ALTER TABLE head RENAME TO hidden; \
         CREATE VIEW head AS SELECT * FROM hidden WHERE current_setting('statement_timeout') = '0' \
         AND current_setting('idle_in_transaction_session_timeout') = '1min'",
    );
    store.load().await.unwrap();
    let since = store.since(Place::default()).await;
    assert!(matches!(since, Err(StoreError::Database(_))), "{since:?}");
}
