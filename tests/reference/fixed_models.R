# R's t tests over topics, of fixed models: what the tests of the scope "these models" amount to.
#   Rscript tests/reference/fixed_models.R    writes tests/reference/fixed_models.json
suppressMessages(library(jsonlite))
set.seed(24)
topics <- 12; layers <- 9; models <- 3; delta <- 0.03
depth <- seq(0, 1, length.out = layers)
# Values of every topic (rows) at every layer (columns), by model and method.
draw <- function(level, height)
  matrix(rep(level + height * (1 - 4 * (depth - 0.5)^2), each = topics), topics) +
    outer(rnorm(topics, sd = 0.03), rep(1, layers)) + rnorm(topics * layers, sd = 0.01)
a <- lapply(c(0.72, 0.74, 0.70), draw, height = 0.10)
b <- lapply(c(0.70, 0.70, 0.69), draw, height = 0.12)
difference <- Map(function(x, y) rowMeans(x) - rowMeans(y), a, b)
one <- function(x) {
  found <- t.test(x)
  same <- max(t.test(x, mu = -delta, alternative = "greater")$p.value,
              t.test(x, mu = delta, alternative = "less")$p.value)
  list(estimate = unname(found$estimate), low = found$conf.int[1], high = found$conf.int[2],
       p = found$p.value, p_same = same)
}
methods <- lapply(difference, one)
p <- sapply(methods, function(m) m$p)
every <- c(one(Reduce(`+`, difference) / models), list(p_every = max(p)))
# Layer 0 against half of every other layer, of separation above chance; one-sided.
halves <- sapply(a, function(x) max(sapply(2:layers, function(l)
  t.test(2 * (x[, 1] - 0.5) - (x[, l] - 0.5), alternative = "greater")$p.value)))
out <- list(topics = topics, layers = layers, delta = delta, a = a, b = b, methods = methods,
            holm = p.adjust(p, "holm"), every = every, halves = max(halves),
            version = R.version.string)
write_json(out, "tests/reference/fixed_models.json", auto_unbox = TRUE, digits = NA)
