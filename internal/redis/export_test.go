package redis

// InfoField is infoField, for tests.
var InfoField = infoField
