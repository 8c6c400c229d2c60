package openai

import (
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"p402.io/p402/gateway"
	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/money"
)

// Model is one entry of GET /v1/models: OpenAI's fields and ours. Prices are US dollars per million tokens by class.
type Model struct {
	ID      string    `json:"id"`
	Object  string    `json:"object"` // "model"
	Created int64     `json:"created"`
	OwnedBy string    `json:"owned_by"`
	P402    ModelP402 `json:"p402"`
}

// ModelP402 is what we add: who serves it and what it costs.
type ModelP402 struct {
	Vendor    string               `json:"vendor"`
	Simulated bool                 `json:"simulated"`
	Price     map[string]money.USD `json:"price"`
}

func (s *Surface) listModels(c *gin.Context) {
	models, ok := s.models(c)
	if ok {
		c.JSON(http.StatusOK, gin.H{"object": "list", "data": models})
	}
}

func (s *Surface) oneModel(c *gin.Context) {
	models, ok := s.models(c)
	if !ok {
		return
	}
	want := strings.TrimPrefix(c.Param("id"), "/")
	for _, m := range models {
		if m.ID == want {
			c.JSON(http.StatusOK, m)
			return
		}
	}
	gateway.Fail(c, s.Log, fault.Field(fault.KindNotFound, "MODEL_NOT_FOUND", "model", "no such model, or this key may not use it"))
}

func (s *Surface) models(c *gin.Context) ([]Model, bool) {
	caller, err := s.Auth.Caller(c, false)
	if err != nil {
		gateway.Fail(c, s.Log, err)
		return nil, false
	}
	models, err := s.Models.List(c.Request.Context(), caller)
	if err != nil {
		gateway.Fail(c, s.Log, err)
		return nil, false
	}
	return models, true
}
