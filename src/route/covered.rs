//! Explanations and comparisons without what variables of the environment produced: both are read by people who may not
//! see every value of the file.

use super::{Comparison, Explanation, HeaderEdit, Masks, Matched, Outcome, Told};

impl Explanation {
    /// The explanation with all that comes out of the rules masked; what comes out of the request stays.
    pub(super) fn covered(mut self, masks: &Masks) -> Self {
        if masks.is_empty() {
            return self;
        }
        let cover = |text: &mut String| *text = masks.covered(std::mem::take(text));
        for (_, place) in self.tenant.iter_mut().chain(&mut self.user) {
            cover(place);
        }
        let matched = self.route.iter_mut().chain(&mut self.nearly);
        matched.for_each(|Matched { why, .. }| cover(why));
        let told = |told: &mut Told| {
            cover(&mut told.text);
            told.salt.iter_mut().for_each(cover);
        };
        self.steps.iter_mut().for_each(told);
        self.denied.iter_mut().chain(&mut self.dropped).for_each(cover);
        for edit in self.request_headers.iter_mut().chain(&mut self.response_headers) {
            match edit {
                HeaderEdit::Remove(text) | HeaderEdit::Set(_, text) | HeaderEdit::Add(_, text) => cover(text),
            }
        }
        match &mut self.outcome {
            Outcome::Refused(_) | Outcome::NoRoute | Outcome::Respond(_) => {}
            Outcome::Redirect(_, to) => cover(to),
            Outcome::Serve(served) => {
                match &mut served.forwarded_path {
                    Ok(text) | Err(text) => cover(text),
                }
                served.forwarded_host.iter_mut().for_each(cover);
                served.copied.iter_mut().for_each(|copied| told(&mut copied.told));
            }
        }
        self
    }
}

impl Comparison {
    /// The comparison with the values of both files masked.
    pub(super) fn covered(mut self, [old, new]: [&Masks; 2]) -> Self {
        let words = self.changed.iter_mut().flat_map(|change| &mut change.words);
        for text in words.chain(&mut self.others) {
            *text = old.covered(new.covered(std::mem::take(text)));
        }
        self
    }
}
