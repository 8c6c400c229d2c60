package provider

import (
	"strings"

	"github.com/tidwall/gjson"
)

// typedEvent reads an event that names its type: those of the Responses form, and of streamed images and sound.
func (p *UsageParser) typedEvent(kind string, delta, item []byte) {
	switch {
	case kind == "error":
		p.failed = true
	case strings.HasSuffix(kind, ".delta"):
		p.streamed = true
		if !strings.HasPrefix(kind, "response.audio.") && !strings.HasPrefix(kind, "speech.") {
			p.textBytes += textLen(delta)
		}
	case kind == "response.output_item.done":
		p.streamed = true
		p.outputItem(item)
	case kind == "image_generation.completed" || kind == "image_edit.completed":
		p.streamed, p.ended = true, true
		p.atLeast("images", 1)
	case kind == "speech.audio.done" || kind == "transcript.text.done":
		p.streamed, p.ended = true, true
	case strings.HasPrefix(kind, "response.") || strings.HasPrefix(kind, "image_") || strings.HasPrefix(kind, "speech."):
		p.streamed = true
	}
}

// responseObject reads the response inside an event. Its usage is null until the event that ends the answer, which may
// also say that it stayed incomplete or failed: what was used is billed all the same.
func (p *UsageParser) responseObject(kind string, response []byte) {
	if !isObject(response) {
		return
	}
	last := false
	switch kind {
	case "response.completed", "response.incomplete", "response.failed", "response.cancelled", "response.done":
		last = true
	}
	p.streamed, p.ended = true, p.ended || last
	failed, counted := false, false
	walkObject(response, func(key, value []byte) {
		switch string(key) {
		case "model":
			p.echo(value)
		case "service_tier":
			p.served(value)
		case "output":
			p.outputItems(value)
		case "status":
			failed = last && text(value) == "failed"
		case "usage":
			if isObject(value) {
				p.openaiUsage(value)
				p.final = p.final || last
				counted = true
			}
		}
	})
	p.failed = p.failed || failed && !counted
}

// outputItems counts a whole list of output items. A stream lists them again at its end: the larger count stands.
func (p *UsageParser) outputItems(list []byte) {
	web, files := int64(0), int64(0)
	walkArray(list, func(item []byte) {
		w, f := toolCall(item)
		web, files = web+w, files+f
		if p.plain {
			p.itemText(item)
		}
	})
	p.atLeast("web_searches", web)
	p.atLeast("file_searches", files)
}

// outputItem counts one finished item of a stream, for answers whose end never comes.
func (p *UsageParser) outputItem(item []byte) {
	web, files := toolCall(item)
	p.itemWeb, p.itemFiles = p.itemWeb+web, p.itemFiles+files
	p.atLeast("web_searches", p.itemWeb)
	p.atLeast("file_searches", p.itemFiles)
}

// toolCall is what an output item costs beside tokens: a completed search of the web or of files. Opening a page or
// finding something in it is no search. Items from before actions were named are searches.
func toolCall(item []byte) (web, files int64) {
	i := gjson.ParseBytes(item)
	if i.Get("status").Str != "completed" {
		return 0, 0
	}
	switch i.Get("type").Str {
	case "web_search_call":
		if action := i.Get("action.type"); action.Str == "search" || !action.Exists() {
			return 1, 0
		}
	case "file_search_call":
		return 0, 1
	}
	return 0, 0
}

// itemText counts the text of an output item of a plain body, for want of a usage.
func (p *UsageParser) itemText(item []byte) {
	walkObject(item, func(key, value []byte) {
		switch string(key) {
		case "content", "summary":
			p.textBytes += contentLen(value)
		case "name", "arguments":
			p.textBytes += textLen(value)
		}
	})
}
