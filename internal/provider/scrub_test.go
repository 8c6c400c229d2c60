package provider

import "testing"

func TestA59_ScrubTakesOutWhatIsOurs(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"message":"Incorrect API key provided: sk-proj-abc*****wxyz."}`:       `{"message":"Incorrect API key provided: [redacted]"}`,
		`{"message":"key my secret key is wrong"}`:                              `{"message":"key [redacted] is wrong"}`,
		`Rate limit reached for gpt-4o in organization org-AbC123xyz on tokens`: `Rate limit reached for gpt-4o in organization [redacted] on tokens`,
		`connect to model-7.svc.internal:8080 (10.0.0.12:8080) failed`:          `connect to [redacted] ([redacted]) failed`,
		`Authorization: Bearer abcdefgh12345`:                                   `Authorization: [redacted]`,
		`see https://platform.openai.com/account/api-keys, version 4.1.2`:       `see https://platform.openai.com/account/api-keys, version 4.1.2`,
		`{"error":{"message":"'messages' must not be empty","code":null}}`:      `{"error":{"message":"'messages' must not be empty","code":null}}`,
		`max_tokens is too large: 999999. This model supports at most 16384`:    `max_tokens is too large: 999999. This model supports at most 16384`,
	} {
		if got := string(scrub([]byte(text), "my secret key")); got != want {
			t.Errorf("%s\n got %s\nwant %s", text, got, want)
		}
	}
}
