package e2e_test

import (
	"os"
	"regexp"
	"testing"
)

// The metered call.

func TestD1_PrintedSnippetRunsUnchanged(t *testing.T) { prove(t, "metered.mjs", "D1_snippet") }
func TestD3_EventIsVisibleWithinTwoSeconds(t *testing.T) {
	prove(t, "metered.mjs", "D3_visible_in_two_seconds")
}
func TestAnswerSaysWhatServedIt(t *testing.T) { prove(t, "metered.mjs", "headers_of_an_answer") }
func TestMockVendorCallsTools(t *testing.T)   { prove(t, "metered.mjs", "mock_tool_call") }
func TestD14_UnknownPriceIsNullNotZero(t *testing.T) {
	prove(t, "metered.mjs", "D14_unknown_price_is_null")
}
func TestD15_BodyComesBeforeHeader(t *testing.T) { prove(t, "metered.mjs", "D15_body_before_header") }
func TestD18_OutcomeByEveryID(t *testing.T)      { prove(t, "metered.mjs", "D18_outcome_by_every_id") }
func TestD19_OutcomesAreRevisedNotOverwritten(t *testing.T) {
	prove(t, "metered.mjs", "D19_outcomes_are_revised_not_overwritten")
}
func TestD21_IdempotencyKeyRunsOnce(t *testing.T) {
	prove(t, "metered.mjs", "D21_idempotency_key")
	prove(t, "passthrough.mjs", "D21_one_vendor_call")
}
func TestD23_DryRunMakesNoCallAndNoEvent(t *testing.T) { prove(t, "metered.mjs", "D23_dry_run") }
func TestD24_ModelsCarryTheirPrices(t *testing.T)      { prove(t, "metered.mjs", "D24_models") }

// What passes through, seen from both ends.

func TestD5_NothingIsLostOnTheWay(t *testing.T) {
	prove(t, "passthrough.mjs", "D5_nothing_is_lost_on_the_way")
}
func TestD6_FramesComeAsTheyAreMade(t *testing.T) {
	prove(t, "passthrough.mjs", "D6_frames_come_as_they_are_made")
}
func TestD7_UsageWithoutAnExtraFrame(t *testing.T) {
	prove(t, "metered.mjs", "D7_stream_without_usage", "D7_stream_with_usage")
	prove(t, "passthrough.mjs", "D7_vendor_is_asked_for_usage", "D7_stream_bytes")
}
func TestD8_AbortEndsTheVendorCallAndIsNotFree(t *testing.T) {
	prove(t, "passthrough.mjs", "D8_client_leaves", "D8_client_resets")
}
func TestD17_OwnersNeverReachTheVendor(t *testing.T) {
	prove(t, "passthrough.mjs", "D17_owners_stay_here")
}
func TestD28_VendorsRefusalReachesTheCaller(t *testing.T) {
	prove(t, "refusals.mjs", "D28_vendor_429_passes")
	prove(t, "passthrough.mjs", "D28_vendor_429")
}

// What is refused.

func TestD10_ErrorsAreTheSDKsOwnClasses(t *testing.T) { prove(t, "refusals.mjs", "D10_classes") }
func TestD11_DenialsAreNotRetried(t *testing.T) {
	prove(t, "refusals.mjs", "D11_denials_are_not_retried")
}
func TestO5_FullBudgetLetsExactlyItsCallsThrough(t *testing.T) {
	prove(t, "refusals.mjs", "D11_full_budget")
}
func TestD22_ForbiddenContentIsRefusedWithItsPath(t *testing.T) {
	prove(t, "refusals.mjs", "D22_forbidden_content")
}
func TestD16_BadMetadataIsNamed(t *testing.T)          { prove(t, "refusals.mjs", "D16_metadata") }
func TestO17_BadBodiesGetTheirOwnRefusal(t *testing.T) { prove(t, "refusals.mjs", "bad_bodies") }
func TestKeyInAQueryIsNoKey(t *testing.T)              { prove(t, "refusals.mjs", "key_in_query_is_no_key") }

// The ledger.

func TestEventFilters(t *testing.T) { prove(t, "ledger.mjs", "filters", "wall_of_auth") }
func TestPagesAreStableUnderWrites(t *testing.T) {
	prove(t, "ledger.mjs", "paging_while_others_write", "cursor_is_signed")
}
func TestF2_SummaryShowsUnattributed(t *testing.T) {
	prove(t, "ledger.mjs", "F2_summary_has_unattributed")
}
func TestO1_OtherTenantSeesNothing(t *testing.T) {
	prove(t, "ledger.mjs", "O1_other_tenant_sees_nothing")
}
func TestO2_TenantHeaderChangesNothing(t *testing.T) { prove(t, "ledger.mjs", "O2_tenant_header") }

// The paid call.

func TestS8_UptoIsSoldByUse(t *testing.T) {
	prove(t, "upto.mjs", "S8_upto_charges_what_was_used", "S8_upto_streamed")
}
func TestS2_UptoIsOffered(t *testing.T) { prove(t, "upto.mjs", "S2_upto_is_offered") }
func TestS3_UptoTermsAreNotTheClients(t *testing.T) {
	prove(t, "upto.mjs", "S3_upto_terms_are_not_the_clients")
}
func TestS2_ChallengeServesEveryClient(t *testing.T) {
	prove(t, "paid.mjs", "S2_challenge_for_all", "S2_plain_sdk_reads_the_price")
}
func TestS2_OfficialClientsPay(t *testing.T) {
	prove(t, "paid.mjs", "S2_official_v2_client", "S2_official_v2_client_registered", "S2_legacy_v1_client")
}
func TestS2_OpenAISDKWithAWalletPays(t *testing.T) {
	prove(t, "paid.mjs", "S2_openai_sdk_with_a_wallet")
}
func TestS2_KeyHolderMayPayToo(t *testing.T) { prove(t, "paid.mjs", "S2_with_a_key_of_ones_own") }
func TestS2_ReceiptTiesEventAndPayment(t *testing.T) {
	prove(t, "paid.mjs", "S2_receipt_ties_event_and_payment")
}
func TestS3_BadPaymentsAreRefusedWithReasons(t *testing.T) {
	prove(t, "refused_payments.mjs", "S3_refused_with_its_own_reason", "S3_bad_signatures", "S3_poor_payer", "S3_unreadable_headers")
	prove(t, "paid.mjs", "other_body_same_payment")
}
func TestS4_OneAuthorizationOneRunOneTransfer(t *testing.T) {
	prove(t, "refused_payments.mjs", "S4_one_authorization_in_100_requests")
}
func TestS5_FailedWorkIsNotPaid(t *testing.T) {
	prove(t, "passthrough.mjs", "S5_unpaid_after_500", "S5_unpaid_after_cut", "S5_unpaid_after_429", "S5_same_payment_serves_the_next_try")
}
func TestS13_PublicPageLeaksNothing(t *testing.T) { prove(t, "paid.mjs", "S13_public_page") }
func TestS15_ReceiptVerifiesAndAForgeryDoesNot(t *testing.T) {
	prove(t, "paid.mjs", "S15_receipt_verifies")
}
func TestPayCommandPays(t *testing.T) { prove(t, "paid.mjs", "pay_command") }
func TestS17_FacilitatorServesTheOfficialClient(t *testing.T) {
	prove(t, "refused_payments.mjs", "facilitator", "facilitator_needs_a_key")
}

func TestS17_FacilitatorSettlesPermit2AndUpto(t *testing.T) {
	prove(t, "permit2.mjs", "permit2_needs_an_allowance", "exact_over_permit2", "a_payer_without_gas_approves_by_signature")
}

func TestA117_UptoSettlesWhatWasUsed(t *testing.T) {
	prove(t, "permit2.mjs", "upto_settles_what_was_used", "upto_of_nothing_spends_the_permit")
}

// The page.

func TestDashboardFindsTheCallAndItsReceipt(t *testing.T) {
	prove(t, "page.mjs", "calls_to_find", "stranger_sees_no_ledger", "sign_in", "ledger_shows_the_call", "detail_shows_the_receipt",
		"detail_escapes", "works_without_scripts", "link_works_once", "quiet_console")
}

// TestO3_KeysAreNotInTheLog runs after the tests above: whatever they made the sandbox log, no key is in it.
func TestO3_KeysAreNotInTheLog(t *testing.T) {
	box, err := shared.main()
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(box.logPath())
	if err != nil {
		t.Fatal(err)
	}
	if found := regexp.MustCompile(`p402_(live|test)_[0-9a-f]{64}`).FindIndex(log); found != nil {
		t.Errorf("the log holds a key at byte %d", found[0])
	}
}

// TestLockFileNamesNoRegistry keeps the lock file installable from any mirror.
func TestLockFileNamesNoRegistry(t *testing.T) {
	t.Parallel()
	lock, err := os.ReadFile("package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	if found := regexp.MustCompile(`"resolved": "[a-z+]+:[^"]*"`).Find(lock); found != nil {
		t.Errorf("the lock file names an address: %s", found)
	}
}
