//! What somebody may have meant who wrote a name that there is none of.

/// The name that is nearest to `wrong`, where one is near enough to be meant.
pub(crate) fn near<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let letters = wrong.chars().count();
    let enough = (letters / 3).clamp(1, 3);
    let begins = |name: &str| wrong.len() >= 2 && name.starts_with(wrong);
    // What is so much longer or shorter is not compared, which for two long texts would take long and much memory.
    let names = names.into_iter().filter(|name| begins(name) || name.chars().count().abs_diff(letters) <= enough);
    let rated = names.map(|name| (if begins(name) { 0 } else { apart(wrong, name) }, name));
    rated.filter(|(apart, _)| *apart <= enough).min().map(|(_, name)| name)
}

/// How many letters have to be put in, left out, exchanged or swapped with their neighbour to make the one of the other
/// (optimal string alignment).
fn apart(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=other.len()).collect()];
    for i in 1..=one.len() {
        let mut row = vec![i];
        for j in 1..=other.len() {
            let same = one[i - 1] == other[j - 1];
            let mut least = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + usize::from(!same));
            if i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_meant_is_near() {
        let names = ["kit", "mara", "orders-read", "orders-write"];
        for (wrong, meant) in [
            ("kti", Some("kit")),
            ("kitt", Some("kit")),
            ("order-read", Some("orders-read")),
            ("orders", Some("orders-read")),
            ("zebra", None),
            ("", None),
        ] {
            assert_eq!(near(wrong, names), meant, "{wrong}");
        }
        assert_eq!((apart("abc", "acb"), apart("", "abc"), apart("abc", "abc")), (1, 3, 0));
    }
}
