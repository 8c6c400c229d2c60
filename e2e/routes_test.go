package e2e_test

import "testing"

// The inference routes beside chat, each driven by its maker's SDK.

func TestD2_EveryRouteServesItsSDK(t *testing.T) {
	prove(t, "routes.mjs", "completions", "completions_streamed", "embeddings", "messages_keys", "messages_count_tokens", "unknown_routes")
}
func TestD25_ResponsesAreMeteredLikeChat(t *testing.T) {
	prove(t, "routes.mjs", "D25_responses", "D25_responses_streamed", "D25_responses_chained")
}
func TestD25_MessagesAreMeteredLikeChat(t *testing.T) {
	prove(t, "routes.mjs", "D25_messages", "D25_messages_streamed")
}
func TestO1_ResponsesBelongToTheirTenant(t *testing.T) {
	prove(t, "routes.mjs", "O1_responses_of_another_tenant")
}
func TestO27_ResponsesThatWouldEscapeMeteringAreRefused(t *testing.T) {
	prove(t, "routes.mjs", "responses_that_cannot_be_metered")
}
func TestD5_ToolsPassOnResponsesAndMessages(t *testing.T) {
	prove(t, "routes.mjs", "D5_responses_tools", "D5_messages_tools")
}
func TestD8_ErrorInTheMidstOfAMessagesStreamIsAFailure(t *testing.T) {
	prove(t, "routes.mjs", "D8_messages_error_in_stream")
}
func TestD10_ErrorsAreTheAnthropicSDKsOwnClasses(t *testing.T) {
	prove(t, "routes.mjs", "D10_messages_errors")
}
func TestD12_SDKRetriesLinkToTheFirstTry(t *testing.T) {
	prove(t, "routes.mjs", "D12_sdk_retries_link_to_the_first_try")
}
func TestD15_OwnersOnEveryRoute(t *testing.T) { prove(t, "routes.mjs", "D15_order_on_every_route") }
func TestD23_DryRunOnEveryRoute(t *testing.T) { prove(t, "routes.mjs", "D23_dry_run_on_every_route") }
func TestD28_AnthropicsRefusalReachesTheCaller(t *testing.T) {
	prove(t, "routes.mjs", "D28_messages_429")
}

func TestD25_CountsAreTheVendors(t *testing.T) {
	prove(t, "routes.mjs", "D25_responses_streamed_counts", "D25_messages_counts", "D25_messages_streamed_counts")
}
