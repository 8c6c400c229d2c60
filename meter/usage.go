package meter

// Usage is what was used, in one vocabulary for every vendor: totals are inclusive, parts are subsets, counts are never
// negative. The zero value is nothing used.
type Usage struct {
	InputTokens            int64 `json:"input_tokens"` // everything read: fresh, cached, written, audio, image
	CachedInputTokens      int64 `json:"cached_input_tokens"`
	CacheWriteTokens       int64 `json:"cache_write_tokens"` // disjoint from cached
	CacheWrite5mTokens     int64 `json:"cache_write_5m_tokens,omitempty"`
	CacheWrite1hTokens     int64 `json:"cache_write_1h_tokens,omitempty"`
	InputAudioTokens       int64 `json:"input_audio_tokens,omitempty"`
	InputImageTokens       int64 `json:"input_image_tokens,omitempty"`
	InputVideoTokens       int64 `json:"input_video_tokens,omitempty"`
	CachedInputAudioTokens int64 `json:"cached_input_audio_tokens,omitempty"`
	CachedInputImageTokens int64 `json:"cached_input_image_tokens,omitempty"`
	CachedInputVideoTokens int64 `json:"cached_input_video_tokens,omitempty"`
	ToolInputTokens        int64 `json:"tool_input_tokens,omitempty"`
	OutputTokens           int64 `json:"output_tokens"` // everything written, with reasoning
	ReasoningTokens        int64 `json:"reasoning_tokens"`
	OutputAudioTokens      int64 `json:"output_audio_tokens,omitempty"`
	OutputImageTokens      int64 `json:"output_image_tokens,omitempty"`
	CitationTokens         int64 `json:"citation_tokens,omitempty"` // billed apart, in neither total
	// Counts are quantities that are not tokens, as decimal text: web_searches, images, audio_seconds, …
	Counts map[string]string `json:"counts,omitempty"`
}

// TotalTokens is input and output; never what the wire says.
func (u Usage) TotalTokens() int64 { return u.InputTokens + u.OutputTokens }

// maxCount is the largest single count that is believed.
const maxCount = 1_000_000_000

// Check is why a usage cannot be believed, or "".
func (u Usage) Check() string {
	parts := []int64{u.InputTokens, u.CachedInputTokens, u.CacheWriteTokens, u.CacheWrite5mTokens, u.CacheWrite1hTokens, u.InputAudioTokens,
		u.InputImageTokens, u.InputVideoTokens, u.CachedInputAudioTokens, u.CachedInputImageTokens, u.CachedInputVideoTokens,
		u.ToolInputTokens, u.OutputTokens,
		u.ReasoningTokens, u.OutputAudioTokens, u.OutputImageTokens, u.CitationTokens}
	for _, n := range parts {
		if n < 0 {
			return "negative_count"
		}
	}
	for _, n := range parts {
		if n > maxCount {
			return "absurd_count"
		}
	}
	switch {
	case u.CachedInputTokens+u.CacheWriteTokens > u.InputTokens,
		u.CacheWrite5mTokens+u.CacheWrite1hTokens > u.CacheWriteTokens,
		u.InputAudioTokens+u.InputImageTokens+u.InputVideoTokens > u.InputTokens, u.ToolInputTokens > u.InputTokens,
		u.CachedInputAudioTokens > u.InputAudioTokens, u.CachedInputImageTokens > u.InputImageTokens, u.CachedInputVideoTokens > u.InputVideoTokens,
		u.CachedInputAudioTokens+u.CachedInputImageTokens+u.CachedInputVideoTokens > u.CachedInputTokens,
		u.ReasoningTokens+u.OutputAudioTokens+u.OutputImageTokens > u.OutputTokens:
		return "subset_exceeds_total"
	}
	return ""
}

// UsageSource says who counted.
type UsageSource string

// The usage sources.
const (
	UsageProvider  UsageSource = "provider"
	UsagePartial   UsageSource = "partial"   // some fields reported, some estimated
	UsageEstimated UsageSource = "estimated" // bytes of text over four
	UsageCounted   UsageSource = "counted"   // derived from request and reply: images, characters, seconds
	UsageRejected  UsageSource = "rejected"  // reported, but not believable
	UsageNone      UsageSource = "none"
)

// Measured is what an answer said and what was counted of it. It holds no content.
type Measured struct {
	Usage
	Source          UsageSource
	Complete        bool // the answer reached its normal end
	EstimatedFields []string
	Warnings        []string
	Rejected        string // why a reported usage was refused
	RawUsage        string // the vendor's last usage object as written, for an audit: counts, no content
	HTTPStatus      int
	Model           string // as the vendor echoed it
	ServiceTier     string // as the vendor reported it
	AskedTier       string // as the request asked for it
	ReportedCost    string // the vendor's own figure, decimal text of US dollars; "" if none
	ReportedPartly  bool   // that figure leaves out what the vendor behind a router takes: ours is to be added
	// What else may choose a price: the answer's word, else the request's, else the vendor's default.
	InferenceGeo      string
	SearchContextSize string
	ImageKind         string // quality:size
}
