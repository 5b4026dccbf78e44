//! The calendar, in UTC.

use crate::syntax::Function;

/// Year, month (1-12) and day (1-31) of a day since the epoch.
fn civil(days: i64) -> (i64, u32, u32) {
    // Years begin in March, so that the leap day is the last; eras are 400 years.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day = shifted.rem_euclid(146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let date = (of_year - (153 * month + 2) / 5 + 1) as u32;
    let month = if month < 10 { month + 3 } else { month - 9 } as u32;
    (year + era * 400 + i64::from(month <= 2), month, date)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn month_length(year: i64, month: u32) -> u32 {
    match month {
        2 => 28 + u32::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// What a function says of a time in seconds.
pub(crate) fn part(function: Function, seconds: f64) -> f64 {
    let seconds = seconds as i64;
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let before = || (1..month).map(|m| month_length(year, m)).sum::<u32>();
    match function {
        Function::Minute => (second / 60 % 60) as f64,
        Function::Hour => (second / 3600) as f64,
        Function::DayOfWeek => (days + 4).rem_euclid(7) as f64,
        Function::DayOfMonth => f64::from(day),
        Function::DayOfYear => f64::from(before() + day),
        Function::DaysInMonth => f64::from(month_length(year, month)),
        Function::Month => f64::from(month),
        _ => year as f64,
    }
}

/// A time in milliseconds as text, to the second.
pub(crate) fn rfc3339(ms: i64) -> String {
    let seconds = ms.div_euclid(1000);
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let second = seconds.rem_euclid(86_400);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}Z", second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_dates() {
        // 2024-02-29T13:37:00Z, a Thursday.
        let time = 1_709_213_820.0;
        let cases = [
            (Function::Year, 2024.0),
            (Function::Month, 2.0),
            (Function::DayOfMonth, 29.0),
            (Function::DayOfYear, 60.0),
            (Function::DayOfWeek, 4.0),
            (Function::DaysInMonth, 29.0),
            (Function::Hour, 13.0),
            (Function::Minute, 37.0),
        ];
        for (function, expected) in cases {
            assert_eq!(part(function, time), expected, "{function:?}");
        }
        assert_eq!(rfc3339(1_709_213_820_000), "2024-02-29T13:37:00Z");
        assert_eq!(part(Function::Year, -1.0), 1969.0);
    }
}
