-- Policies learn further rules and whether they deny or only watch.
ALTER TABLE policies
    ADD COLUMN rules jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN state text  NOT NULL DEFAULT 'enforced' CHECK (state IN ('shadow', 'enforced'));
UPDATE policies SET rules = jsonb_build_object('allowed_models', allowed_models);
ALTER TABLE policies DROP COLUMN allowed_models;
