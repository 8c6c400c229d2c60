package provider

import (
	"fmt"
	"slices"
	"sort"
)

// Auth is how a vendor takes its key.
type Auth uint8

// The forms of auth.
const (
	AuthBearer  Auth = iota // Authorization: Bearer
	AuthXAPIKey             // x-api-key, Anthropic's own form
	AuthAPIKey              // api-key, Azure's
)

// Profile is what has to be known of a kind of vendor to send it a call and to read its usage. Facts are from the vendors'
// published types and documents, as of 2026-11.
type Profile struct {
	Kind    string
	BaseURL string // with its version part; "" where every installation has its own
	Auth    Auth
	// AuthOn differs from Auth on the named routes.
	AuthOn map[Route]Auth
	// Routes are those the vendor has; empty: not known, it is asked and may say no.
	Routes []Route
	// Strip are top-level members the vendor refuses or that would change what it does; Rename are members it knows by
	// another name. Both are of the chat route, but for StripResponses.
	Strip          []string
	StripResponses []string
	// StripMessages are members of a chat's messages that the vendor refuses.
	StripMessages []string
	Rename        map[string]string
	// UsageUnasked says that a stream carries usage without stream_options, which the vendor refuses: it is in Strip.
	UsageUnasked bool
	// IDsRepeat says that two answers may bear one id, so that a lookup by it is not a lookup of one call.
	IDsRepeat bool
	// OwnNames says that models' own names there begin with the kind's name and a slash, as openrouter/auto does.
	OwnNames bool
	// Vendor and ChatAPI are what the usage parser and the price book know the kind and its chat form as.
	Vendor  string
	ChatAPI string
	// Prices is whose price list the kind's bare model names are of, where that is not Vendor; AnyPrices: whoever made them.
	Prices string
}

// AnyPrices asks for a model's price at whoever's list has it: right for a vendor that is made up, or stands for others.
const AnyPrices = "*"

var chatOnly = []Route{RouteChatCompletions}
var openAIRoutes = []Route{RouteChatCompletions, RouteCompletions, RouteEmbeddings, RouteResponses}

// profiles is one row a kind. A kind that is missing is openai_compatible.
var profiles = map[string]Profile{
	"openai": {BaseURL: "https://api.openai.com/v1", Routes: openAIRoutes, Vendor: "openai", ChatAPI: "openai.chat"},
	"azure":  {Auth: AuthAPIKey, Routes: openAIRoutes, Vendor: "azure", ChatAPI: "azure.chat"},
	"openrouter": {BaseURL: "https://openrouter.ai/api/v1", OwnNames: true, Vendor: "openrouter", ChatAPI: "openrouter.chat",
		Routes: []Route{RouteChatCompletions, RouteCompletions, RouteEmbeddings, RouteResponses, RouteMessages}},
	"anthropic": {BaseURL: "https://api.anthropic.com/v1", Auth: AuthXAPIKey, AuthOn: map[Route]Auth{RouteChatCompletions: AuthBearer},
		Routes: []Route{RouteChatCompletions, RouteMessages, RouteCountTokens}, Vendor: "anthropic", ChatAPI: "anthropic.openai_chat"},
	"gemini": {BaseURL: "https://generativelanguage.googleapis.com/v1beta/openai", Routes: []Route{RouteChatCompletions, RouteEmbeddings},
		Strip: []string{"metadata", "store"}, Vendor: "google", ChatAPI: "gemini.openai_chat"},
	"mistral": {BaseURL: "https://api.mistral.ai/v1", Routes: []Route{RouteChatCompletions, RouteEmbeddings}, UsageUnasked: true,
		Strip: []string{"metadata", "store", "stream_options"}, StripMessages: []string{"reasoning_content"},
		Rename: map[string]string{"max_completion_tokens": "max_tokens"}, Vendor: "mistral", ChatAPI: "mistral.chat"},
	"groq": {BaseURL: "https://api.groq.com/openai/v1", Routes: []Route{RouteChatCompletions, RouteResponses}, Strip: []string{"metadata", "store"},
		StripResponses: []string{"metadata", "store"}, Vendor: "groq", ChatAPI: "groq.chat"},
	"deepseek": {BaseURL: "https://api.deepseek.com/v1", Routes: chatOnly, Vendor: "deepseek", ChatAPI: "deepseek.chat"},
	"xai": {BaseURL: "https://api.x.ai/v1", Routes: []Route{RouteChatCompletions, RouteCompletions, RouteResponses, RouteMessages},
		StripResponses: []string{"metadata"}, Vendor: "xai", ChatAPI: "xai.chat"},
	"together":  {BaseURL: "https://api.together.xyz/v1", Routes: []Route{RouteChatCompletions, RouteCompletions, RouteEmbeddings}, Vendor: "together", ChatAPI: "together.chat"},
	"fireworks": {BaseURL: "https://api.fireworks.ai/inference/v1", Routes: openAIRoutes, Vendor: "fireworks", ChatAPI: "fireworks.chat"},
	"cerebras": {BaseURL: "https://api.cerebras.ai/v1", Routes: []Route{RouteChatCompletions, RouteCompletions}, Strip: []string{"metadata", "store"},
		Vendor: "cerebras", ChatAPI: "cerebras.chat"},
	"perplexity": {BaseURL: "https://api.perplexity.ai", Routes: chatOnly, UsageUnasked: true, Strip: []string{"metadata", "store", "stream_options"},
		Vendor: "perplexity", ChatAPI: "perplexity.chat"},
	"cohere": {BaseURL: "https://api.cohere.ai/compatibility/v1", Routes: []Route{RouteChatCompletions, RouteEmbeddings}, Strip: []string{"metadata", "store"},
		Vendor: "cohere", ChatAPI: "openai_compat.chat"},
	"ollama":            {BaseURL: "http://127.0.0.1:11434/v1", IDsRepeat: true, Vendor: "ollama", ChatAPI: "openai_compat.chat"},
	"vllm":              {BaseURL: "http://127.0.0.1:8000/v1", Vendor: "vllm", ChatAPI: "vllm.chat"},
	"openai_compatible": {Vendor: "openai_compat", Prices: "openai", ChatAPI: "openai_compat.chat"},
	"mock":              {OwnNames: true, Vendor: "mock", Prices: AnyPrices, ChatAPI: "openai.chat"},
}

// FindProfile is the profile of a kind; false if there is none of that name.
func FindProfile(kind string) (Profile, bool) {
	p, ok := profiles[kind]
	p.Kind = kind
	return p, ok
}

// Kinds is the name of every profile, sorted.
func Kinds() []string {
	out := make([]string, 0, len(profiles))
	for kind := range profiles {
		out = append(out, kind)
	}
	sort.Strings(out)
	return out
}

// Serves reports whether a vendor of this kind may have a route.
func (p Profile) Serves(r Route) bool { return len(p.Routes) == 0 || slices.Contains(p.Routes, r) }

// API is the parser's name for a route's wire form; other is the name that the form has at its maker.
func (p Profile) API(r Route, other string) string {
	if r == RouteChatCompletions && p.ChatAPI != "" {
		return p.ChatAPI
	}
	return other
}

// Shape makes the body what this kind of vendor takes. Bytes that need no change come back as they are.
func (p Profile) Shape(r Route, body []byte) ([]byte, error) {
	strip := p.Strip
	if r == RouteResponses {
		strip = p.StripResponses
	}
	if r == RouteMessages || r == RouteCountTokens {
		return body, nil
	}
	var err error
	for from, to := range p.Rename {
		if body, err = RenameKey(body, from, to); err != nil {
			return nil, fmt.Errorf("shape for %s: %w", p.Kind, err)
		}
	}
	if len(p.StripMessages) > 0 && r == RouteChatCompletions {
		if body, err = RemoveMessageKeys(body, p.StripMessages...); err != nil {
			return nil, fmt.Errorf("shape for %s: %w", p.Kind, err)
		}
	}
	if len(strip) == 0 {
		return body, nil
	}
	return RemoveKeys(body, strip...)
}

// auth is the header that carries the key on a route, and its value.
func (p Profile) auth(r Route, key string) (name, value string) {
	form, ok := p.AuthOn[r]
	if !ok {
		form = p.Auth
	}
	switch form {
	case AuthXAPIKey:
		return "X-Api-Key", key
	case AuthAPIKey:
		return "Api-Key", key
	case AuthBearer:
	}
	return "Authorization", "Bearer " + key
}
