//! When windows open and close, on days on which the clocks change too.

use super::*;

fn window(days: &str, from: &str, to: &str, zone: &str) -> Window {
    Window {
        days: days.to_owned().try_into().unwrap(),
        from: from.to_owned().try_into().unwrap(),
        to: to.to_owned().try_into().unwrap(),
        zone: TimeZone::get(zone).unwrap(),
    }
}

fn hours(windows: &[(&str, &str, &str, &str)]) -> Hours {
    let windows = windows.iter();
    Hours {
        windows: windows
            .map(|(days, from, to, zone)| window(days, from, to, zone))
            .collect(),
        overrun: false,
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// When what is open closes.
fn until(hours: &Hours, now: &str) -> Option<String> {
    let now = at(now);
    let limit = now + jiff::SignedDuration::from_hours(24 * 30);
    Some(hours.open_until(now, limit)?.to_string())
}

fn next(hours: &Hours, now: &str) -> String {
    hours.next_opening(at(now)).unwrap().to_string()
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

const OFFICE: (&str, &str, &str, &str) = ("mon-fri", "08:00", "18:00", "Europe/Paris");

#[test]
fn a_window_is_open_from_its_first_instant_until_just_before_its_last() {
    let office = hours(&[OFFICE]);
    // 2026-11-27 is a Friday; Paris is an hour ahead.
    assert_eq!(until(&office, "2026-11-27T06:59:59Z"), None);
    assert_eq!(
        until(&office, "2026-11-27T07:00:00Z"),
        some("2026-11-27T17:00:00Z")
    );
    assert_eq!(
        until(&office, "2026-11-27T16:59:59Z"),
        some("2026-11-27T17:00:00Z")
    );
    assert_eq!(until(&office, "2026-11-27T17:00:00Z"), None);
    assert_eq!(
        next(&office, "2026-11-27T07:00:00Z"),
        "2026-11-30T07:00:00Z"
    );
    assert_eq!(
        next(&office, "2026-11-28T12:00:00Z"),
        "2026-11-30T07:00:00Z"
    );
}

#[test]
fn a_window_over_midnight_belongs_to_the_day_on_which_it_begins() {
    let night = hours(&[("fri", "22:00", "06:00", "Europe/Paris")]);
    assert_eq!(
        until(&night, "2026-11-27T21:00:00Z"),
        some("2026-11-28T05:00:00Z")
    );
    assert_eq!(
        until(&night, "2026-11-28T04:59:59Z"),
        some("2026-11-28T05:00:00Z")
    );
    assert_eq!(
        until(&night, "2026-11-27T03:00:00Z"),
        None,
        "Thursday's night"
    );
    assert_eq!(until(&night, "2026-11-28T22:00:00Z"), None, "Saturday's");
}

#[test]
fn windows_that_follow_each_other_without_a_gap_are_one() {
    let weekend = hours(&[
        ("fri", "18:00", "24:00", "Europe/Paris"),
        ("sat-sun", "00:00", "24:00", "Europe/Paris"),
        ("mon", "00:00", "08:00", "Europe/Paris"),
    ]);
    assert_eq!(
        until(&weekend, "2026-11-27T17:00:00Z"),
        some("2026-11-30T07:00:00Z")
    );
    let always = hours(&[("mon-sun", "00:00", "24:00", "UTC")]);
    let now = at("2026-11-27T12:00:00Z");
    let limit = at("2026-11-29T12:00:00Z");
    assert!(always.open_until(now, limit).unwrap() >= limit);
}

#[test]
fn hours_are_those_of_the_clocks_before_and_after_they_change() {
    let office = hours(&[("mon-sun", "08:00", "18:00", "Europe/Paris")]);
    // Forward in the night to 2026-03-29, back in that to 2026-10-25.
    for (day, opens, closes) in [
        ("2026-03-28", "07:00", "17:00"),
        ("2026-03-29", "06:00", "16:00"),
        ("2026-10-24", "06:00", "16:00"),
        ("2026-10-25", "07:00", "17:00"),
    ] {
        let opens = format!("{day}T{opens}:00Z");
        assert_eq!(next(&office, &format!("{day}T00:30:00Z")), opens);
        assert_eq!(until(&office, &opens), some(&format!("{day}T{closes}:00Z")));
    }
    let office = hours(&[("mon-sun", "08:00", "18:00", "America/New_York")]);
    for (day, opens, closes) in [
        ("2026-03-07", "13:00", "23:00"),
        ("2026-03-08", "12:00", "22:00"),
        ("2026-10-31", "12:00", "22:00"),
        ("2026-11-01", "13:00", "23:00"),
    ] {
        let opens = format!("{day}T{opens}:00Z");
        assert_eq!(next(&office, &format!("{day}T06:30:00Z")), opens);
        assert_eq!(until(&office, &opens), some(&format!("{day}T{closes}:00Z")));
    }
}

#[test]
fn a_night_in_which_the_clocks_change_is_an_hour_shorter_or_longer() {
    let paris = hours(&[("mon-sun", "22:00", "06:00", "Europe/Paris")]);
    assert_eq!(
        until(&paris, "2026-03-28T21:00:00Z"),
        some("2026-03-29T04:00:00Z")
    );
    assert_eq!(
        until(&paris, "2026-10-24T20:00:00Z"),
        some("2026-10-25T05:00:00Z")
    );
    let york = hours(&[("mon-sun", "22:00", "06:00", "America/New_York")]);
    assert_eq!(
        until(&york, "2026-03-08T03:00:00Z"),
        some("2026-03-08T10:00:00Z")
    );
    assert_eq!(
        until(&york, "2026-11-01T02:00:00Z"),
        some("2026-11-01T11:00:00Z")
    );
}

#[test]
fn what_of_a_window_the_clocks_leave_out_is_not_there() {
    // On 2026-03-29 Paris goes from 02:00 to 03:00, which is 01:00 UTC; on 2026-03-08 New York does, at 07:00 UTC.
    for (zone, change, half_past, day_after) in [
        (
            "Europe/Paris",
            "2026-03-29T01:00:00Z",
            "2026-03-29T01:30:00Z",
            "2026-03-30T00:30:00Z",
        ),
        (
            "America/New_York",
            "2026-03-08T07:00:00Z",
            "2026-03-08T07:30:00Z",
            "2026-03-09T06:30:00Z",
        ),
    ] {
        let before = (at(change) - jiff::SignedDuration::from_secs(1)).to_string();
        let over = hours(&[("mon-sun", "02:30", "03:30", zone)]);
        assert_eq!(until(&over, &before), None, "{zone}");
        assert_eq!(
            next(&over, &before),
            change,
            "it opens with the change: {zone}"
        );
        assert_eq!(until(&over, change), some(half_past), "{zone}");
        assert_eq!(next(&over, change), day_after, "{zone}");
        let into = hours(&[("mon-sun", "01:30", "02:30", zone)]);
        assert_eq!(until(&into, &before), some(change), "{zone}");
        assert_eq!(until(&into, change), None, "{zone}");
        let within = hours(&[("mon-sun", "02:15", "02:45", zone)]);
        let night = (at(change) - jiff::SignedDuration::from_hours(6)).to_string();
        assert!(
            at(&next(&within, &night)) > at(half_past),
            "not that day: {zone}"
        );
    }
}

#[test]
fn an_hour_that_comes_twice_is_open_both_times() {
    // On 2026-10-25 Paris goes back from 03:00 to 02:00, at 01:00 UTC.
    let paris = hours(&[("sun", "02:30", "03:30", "Europe/Paris")]);
    assert_eq!(until(&paris, "2026-10-25T00:29:59Z"), None);
    assert_eq!(
        until(&paris, "2026-10-25T00:30:00Z"),
        some("2026-10-25T02:30:00Z")
    );
    let early = hours(&[("sun", "01:00", "02:30", "Europe/Paris")]);
    assert_eq!(
        until(&early, "2026-10-24T23:00:00Z"),
        some("2026-10-25T01:30:00Z")
    );
    // New York goes back from 02:00 to 01:00 on 2026-11-01, at 06:00 UTC.
    let york = hours(&[("sun", "01:30", "02:30", "America/New_York")]);
    assert_eq!(
        until(&york, "2026-11-01T05:30:00Z"),
        some("2026-11-01T07:30:00Z")
    );
}

#[test]
fn windows_are_told_as_policies_write_them() {
    let days = |text: &str| Days::try_from(text.to_owned()).unwrap();
    assert_eq!(days("sat-mon").listed(), ["mon", "sat-sun"]);
    assert_eq!(
        days("mon").and(days("wed-fri")).listed(),
        ["mon", "wed-fri"]
    );
    assert_eq!(
        hours(&[OFFICE]).to_string(),
        "mon-fri 08:00 to 18:00 Europe/Paris"
    );
    for wrong in ["8:00", "08:60", "24:01", "08:00:00", "+8:00", "", "0800"] {
        assert!(Minute::try_from(wrong.to_owned()).is_err(), "{wrong}");
    }
    for wrong in ["", "Mon", "monday", "mon-", "mon-fri-sat", "mo"] {
        assert!(Days::try_from(wrong.to_owned()).is_err(), "{wrong}");
    }
}

proptest::proptest! {
    /// By brute force: where the clocks show a time within the window on one of its days, it is open.
    #[test]
    fn a_window_is_open_whenever_the_clocks_show_a_time_within_it(
        minute in 0..2_000_000_i64,
        (from, to) in (0..1_440_u16, 0..=1_440_u16),
        first in 0..7_usize,
        zone in proptest::sample::select(&["Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia"][..]),
    ) {
        proptest::prop_assume!(from != to);
        let zone = TimeZone::get(zone).unwrap();
        let now = at("2023-01-01T00:00:00Z") + jiff::SignedDuration::from_mins(minute);
        let clock = zone.to_datetime(now);
        let days = Days::try_from(NAMES[first].to_owned()).unwrap();
        let window = Window { days, from: Minute(from), to: Minute(to), zone };
        let shown = u16::try_from(clock.hour()).unwrap() * 60 + u16::try_from(clock.minute()).unwrap();
        let (today, yesterday) = (clock.date().weekday(), clock.date().yesterday().unwrap().weekday());
        let within = if from < to {
            days.include(today) && (from..to).contains(&shown)
        } else {
            (days.include(today) && shown >= from) || (days.include(yesterday) && shown < to)
        };
        let hours = Hours { windows: vec![window], overrun: false };
        let open = hours.open_until(now, now);
        if within {
            proptest::prop_assert!(open.is_some_and(|until| until > now));
        }
        if open.is_none() {
            let opens = hours.next_opening(now);
            proptest::prop_assert!(opens.is_some_and(|opens| hours.open_until(opens, opens).is_some()));
        }
    }
}

#[test]
fn zones_are_known_where_the_machine_has_no_time_zones() {
    let bundled = jiff::tz::TimeZoneDatabase::bundled();
    for zone in ["Europe/Paris", "America/New_York", "Asia/Kolkata"] {
        assert!(bundled.get(zone).is_ok(), "{zone}");
    }
}
