package e2e_test

import "testing"

// The pages, in a browser, from an empty ledger.

func TestD3_FirstEventIsSeenWithinTwoSeconds(t *testing.T) {
	prove(t, "pages.mjs", "D3_first_event_in_two_minutes")
}

func TestS1_TestS12_TheWizardLeadsToAPaidRun(t *testing.T) {
	prove(t, "pages.mjs", "S1_S12_wizard_to_a_paid_run")
}

func TestS16_EarningsAreTheSumOfSettledReceipts(t *testing.T) {
	prove(t, "pages.mjs", "S16_earnings_are_the_receipts")
}

func TestF18_TheAuditorSeesAndCannotChange(t *testing.T) {
	prove(t, "pages.mjs", "owner_account_and_password", "F18_the_auditor_sees_and_cannot_change")
}

func TestFinanceRunsAndExportsOnThePages(t *testing.T) {
	prove(t, "pages.mjs", "finance_runs_and_exports")
}

func TestEveryPageIsFitForEverybody(t *testing.T) {
	prove(t, "pages.mjs", "every_page_fits_a_desk", "every_page_fits_a_phone", "every_page_is_light", "works_without_scripts", "filters_are_in_the_address_and_strict", "forms_of_control", "quiet_console")
}
