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
	case has("messages") || has("invoke") || family == "anthropic": // Bedrock's InvokeModel passes Claude's own form through
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
	case has("image", "predict"):
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
