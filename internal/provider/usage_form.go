package provider

import "strings"

// wireForm is the shape of a vendor's answers, as far as counting goes.
type wireForm uint8

const (
	formOpenAI wireForm = iota // chat, responses, embeddings, images, audio, and all that is shaped like them
	formAnthropic
	formGemini
	formBedrock
	formCohere
	formOllama
)

// workKind is what was asked for, as far as it decides what is counted.
type workKind uint8

const (
	workText workKind = iota
	workEmbed
	workImages
	workTranscribe
	workSpeech
	workOther // rerank, OCR: counted in units of their own
)

// formOf reads the form off the two halves of an api's name. A vendor's OpenAI-compatible door has OpenAI's form.
func formOf(family, operation string) wireForm {
	has := func(word string) bool { return strings.Contains(operation, word) }
	switch {
	case has("openai") || has("responses") || has("compat") || has("completions"):
		return formOpenAI
	case has("converse"):
		return formBedrock
	case has("messages") || has("invoke") || has("anthropic") || has("claude") || family == "anthropic": // Bedrock's InvokeModel passes Claude's own form through
		return formAnthropic
	case has("generate_content") || family == "gemini" || family == "vertex" || family == "google":
		return formGemini
	case family == "cohere":
		return formCohere
	case family == "ollama":
		return formOllama
	case family == "bedrock":
		return formBedrock
	}
	return formOpenAI
}

func workOf(operation string) workKind {
	has := func(words ...string) bool {
		for _, word := range words {
			if strings.Contains(operation, word) {
				return true
			}
		}
		return false
	}
	switch {
	case has("embed"):
		return workEmbed
	case has("image") || has("predict") && !has("raw"):
		return workImages
	case has("speech", "tts"):
		return workSpeech
	case has("audio", "transcri", "translation"):
		return workTranscribe
	case has("ocr", "rerank", "classify", "moderation"):
		return workOther
	}
	return workText
}

// sniffFrames is how many frames are looked at for the form: it shows in the first, or after a vendor's preamble.
const sniffFrames = 4

// sniff corrects the form by the first frame that shows one beyond doubt. A door may be named after its vendor and still
// speak another vendor's form, as many do; counting must not hang on a name.
func (p *UsageParser) sniff(data []byte) {
	walkObject(data, func(key, value []byte) {
		switch string(key) {
		case "choices":
			p.wire, p.sniffed = formOpenAI, true
		case "usageMetadata", "candidates":
			p.wire, p.sniffed = formGemini, true
		case "prompt_eval_count", "eval_count":
			p.wire, p.sniffed = formOllama, true
		case "type":
			if kind := string(value); kind == `"message"` || kind == `"message_start"` {
				p.wire, p.sniffed = formAnthropic, true
			}
		}
	})
}
