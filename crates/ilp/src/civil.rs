//! The calendar that packets write their times in: UTC, digits only, years 1970 to 9999, no leap seconds.

/// Length of an ILP expiry, `YYYYMMDDHHmmSSfff`.
pub(crate) const DIGITS: usize = 17;

/// The last millisecond that four digits of year can name, since the Unix epoch.
pub(crate) const LAST_MS: u64 = 253_402_300_799_999;

const DAY_MS: u64 = 86_400_000;
const DAYS_BEFORE_EPOCH: u64 = 719_468; // from 0000-03-01, where the computation's years begin
const ERA_DAYS: u64 = 146_097; // 400 years
const MONTH_DAYS: [u64; 13] = [0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// Reads `YYYYMMDDHHmmSSfff` as milliseconds since the Unix epoch; `None` for anything no calendar has.
#[inline]
pub(crate) fn parse(digits: &[u8; DIGITS]) -> Option<u64> {
    let (date, rest) = digits.split_first_chunk::<8>()?;
    let (time, last) = rest.split_first_chunk::<8>()?;
    let [century, year_of_century, month, day] = digit_pairs(date)?;
    let [hour, minute, second, centisecond] = digit_pairs(time)?;
    let [unit] = last else { return None };
    let millisecond = u64::from(unit.wrapping_sub(b'0'));
    let year = century * 100 + year_of_century;
    let sensible = year >= 1970
        && (1..=12).contains(&month)
        && day >= 1
        && day <= days_in_month(year, month)
        && hour < 24
        && minute < 60
        && second < 60
        && millisecond < 10;
    if !sensible {
        return None;
    }
    let seconds = hour * 3_600 + minute * 60 + second;
    Some(
        days_since_epoch(year, month, day) * DAY_MS
            + seconds * 1_000
            + centisecond * 10
            + millisecond,
    )
}

/// Writes milliseconds since the Unix epoch as `YYYYMMDDHHmmSSfff`; `None` after the year 9999.
#[inline]
pub(crate) fn format(milliseconds: u64) -> Option<[u8; DIGITS]> {
    if milliseconds > LAST_MS {
        return None;
    }
    let (year, month, day) = civil_from_days(milliseconds / DAY_MS);
    let of_day = milliseconds % DAY_MS;
    let mut digits = [b'0'; DIGITS];
    let fields = [
        (year / 100, 0),
        (year % 100, 2),
        (month, 4),
        (day, 6),
        (of_day / 3_600_000, 8),
        (of_day / 60_000 % 60, 10),
        (of_day / 1_000 % 60, 12),
        (of_day % 1_000 / 10, 14),
    ];
    for (value, at) in fields {
        let tens = value / 10;
        digits[at] = ascii_digit(tens);
        digits[at + 1] = ascii_digit(value - tens * 10);
    }
    digits[DIGITS - 1] = ascii_digit(of_day % 10);
    Some(digits)
}

/// Eight ASCII digits as four two-digit numbers, all lanes of one word at once.
#[inline]
fn digit_pairs(digits: &[u8; 8]) -> Option<[u64; 4]> {
    let word = u64::from_le_bytes(*digits);
    let high = word & 0xf0f0_f0f0_f0f0_f0f0;
    let carried = word.wrapping_add(0x0606_0606_0606_0606) & 0xf0f0_f0f0_f0f0_f0f0;
    if (high | (carried >> 4)) != 0x3333_3333_3333_3333 {
        return None;
    }
    let pairs = (word & 0x0f0f_0f0f_0f0f_0f0f).wrapping_mul(10 * 256 + 1) >> 8;
    Some([
        pairs & 0xff,
        pairs >> 16 & 0xff,
        pairs >> 32 & 0xff,
        pairs >> 48 & 0xff,
    ])
}

#[inline]
fn days_in_month(year: u64, month: u64) -> u64 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let index = usize::try_from(month).unwrap_or(0);
    MONTH_DAYS.get(index).copied().unwrap_or(0) + u64::from(month == 2 && leap)
}

/// Counts years from March, so that the leap day is a year's last and month lengths follow one line.
#[inline]
fn days_since_epoch(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let (era, year) = (year / 400, year % 400);
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * ERA_DAYS + year * 365 + year / 4 - year / 100 + of_year - DAYS_BEFORE_EPOCH
}

#[inline]
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + DAYS_BEFORE_EPOCH;
    let (era, of_era) = (days / ERA_DAYS, days % ERA_DAYS);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let year = year + era * 400;
    if month < 10 {
        (year, month + 3, day)
    } else {
        (year + 1, month - 9, day)
    }
}

#[inline]
fn ascii_digit(value: u64) -> u8 {
    let [low, ..] = value.to_le_bytes();
    b'0' | low
}
