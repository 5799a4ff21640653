//! What was spent of a quota that is counted by the day.

/// Of a project, on one day. Differences and sums are of each by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QuotaSpent {
    /// Uploads begun.
    pub inserts: u32,
    /// Units that all other calls cost.
    pub units: u32,
}

impl QuotaSpent {
    pub const NOTHING: Self = Self { inserts: 0, units: 0 };

    pub const fn plus(self, more: Self) -> Self {
        Self { inserts: self.inserts.saturating_add(more.inserts), units: self.units.saturating_add(more.units) }
    }

    pub const fn less(self, told: Self) -> Self {
        Self { inserts: self.inserts.saturating_sub(told.inserts), units: self.units.saturating_sub(told.units) }
    }

    /// The larger of each.
    pub fn or_more(self, other: Self) -> Self {
        Self { inserts: self.inserts.max(other.inserts), units: self.units.max(other.units) }
    }

    pub const fn is_within(self, budget: Self) -> bool {
        self.inserts <= budget.inserts && self.units <= budget.units
    }
}
