# Values of R's lme4, lmerTest, pbkrtest and metafor on invariance_data.csv (a simulated study).
#   Rscript tests/reference/invariance.R    writes tests/reference/invariance.json
suppressMessages({library(lme4); library(lmerTest); library(pbkrtest); library(metafor)
                  library(jsonlite)})
here <- "tests/reference"
d <- read.csv(file.path(here, "invariance_data.csv"))
d$x <- 2 * d$depth - 1
d$q <- 6 * d$depth^2 - 6 * d$depth + 1
out <- list()

# The mixed model, with and without the family's shape; once crossed with emotions, once for one.
fits <- function(data, emotion) {
  null <- as.formula(paste("score ~ method * (x + q) + family + (x + q + 1 | model)", emotion))
  full <- as.formula(paste("score ~ method * (x + q) + family * (x + q) + (x + q + 1 | model)",
                           emotion))
  control <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-9, maxfun = 1e5))
  list(null = lmer(null, data, REML = FALSE, control = control),
       full = lmer(full, data, REML = FALSE, control = control))
}
facts <- function(m) list(loglik = as.numeric(logLik(m)), sigma = sigma(m),
                          singular = isSingular(m),
                          curve_cov = unname(as.matrix(VarCorr(m)$model)[c("x", "q", "(Intercept)"),
                                                                         c("x", "q", "(Intercept)")]))
both <- fits(d, "+ (1 | emotion)")
out$crossed <- lapply(both, facts)
out$crossed$emotion_sd <- attr(VarCorr(both$null)$emotion, "stddev")[[1]]
out$crossed$shape <- unname(fixef(both$null)[c("x", "q", "methodgeneration:x",
                                                "methodgeneration:q")])
out$single <- lapply(fits(subset(d, emotion == "e1"), ""), facts)

# The bootstrap p, on the mean over emotions; nsim bounds its Monte Carlo error.
mean_over <- aggregate(score ~ model + family + method + x + q, d, mean)
both <- fits(mean_over, "")
nsim <- 500
suppressWarnings(suppressMessages(
  boot <- PBmodcomp(both$full, both$null, nsim = nsim, seed = 1)))
out$bootstrap <- list(lr = boot$test["LRT", "stat"], p_chi2 = boot$test["LRT", "p.value"],
                      p = boot$test["PBtest", "p.value"], nsim = nsim)

# One quadratic a model: vertices, equivalence, heterogeneity, scale.
profile <- aggregate(score ~ model + family + n_params + instruct + x + q, d, mean)
models <- unique(profile[c("model", "family", "n_params", "instruct")])
models <- models[order(models$model), ]
coefs <- t(sapply(models$model, function(m) coef(lm(score ~ x + q, profile[profile$model == m, ]))))
v <- unname(0.5 - coefs[, "x"] / (6 * coefs[, "q"]))
out$vertex <- v
means <- lm(v ~ 0 + family, models)
contrast <- diag(5) - 1 / 5
departure <- contrast %*% coef(means)
se <- sqrt(diag(contrast %*% vcov(means) %*% t(contrast)))
out$departure <- c(departure)
out$p_equivalence <- max(pt((0.1 - abs(departure)) / se, means$df.residual, lower.tail = FALSE))
count <- c(table(models$family))
pm <- rma(coef(means), summary(means)$sigma^2 / count, method = "PM",
          control = list(tol = 1e-12, maxiter = 1000))
out$between_sd <- sqrt(pm$tau2)
vi <- 0.002 * (1:9)
out$vi <- vi
for (name in c("small", "large")) {
  scaled <- if (name == "small") vi / 100 else vi
  kh <- rma(v, scaled, mods = ~ log10(models$n_params), method = "REML", test = "knha",
            control = list(threshold = 1e-12, maxiter = 10000))
  out$scale[[name]] <- list(slope = kh$beta[2], se = kh$se[2], p = kh$pval[2], tau = sqrt(kh$tau2))
}

# Pillai's trace, and all sortings of nine models into families of these sizes.
pillai <- function(family) summary(manova(coefs[, c("x", "q")] ~ factor(family)))$stats[1, "Pillai"]
observed <- pillai(models$family)
sort_into <- function(free, sizes) {
  if (length(sizes) == 0) return(list(character(0)))
  do.call(c, lapply(combn(seq_along(free), sizes[1], simplify = FALSE), function(pick)
    lapply(sort_into(free[-pick], sizes[-1]),
           function(rest) c(setNames(rep(names(sizes)[1], sizes[1]), free[pick]), rest))))
}
total <- crossprod(scale(coefs[, c("x", "q")], scale = FALSE))
white <- scale(coefs[, c("x", "q")], scale = FALSE) %*% solve(chol(total))
trace <- function(family) sum(rowsum(white, family)^2 / c(table(family)))
every <- sapply(sort_into(models$model, count), function(f) trace(f[models$model]))
out$permutation <- list(pillai = observed, n = length(every),
                        p = mean(every >= observed * (1 - 1e-9)))

# Methods: one mean over layers and emotions for each model and method.
value <- aggregate(score ~ model + method + instruct, aggregate(
  score ~ model + method + instruct + layer, d, mean), mean)
a <- value$score[value$method == "generation"]
b <- value$score[value$method == "comprehension"]
stopifnot(identical(value$model[value$method == "generation"],
                    value$model[value$method == "comprehension"]))
flips <- as.matrix(expand.grid(rep(list(c(-1, 1)), 9))) %*% (a - b)
rank <- wilcox.test(a, b, paired = TRUE, exact = TRUE, conf.int = TRUE)
whitney <- wilcox.test(a, b, exact = TRUE)
value$m <- ifelse(value$method == "generation", 0.5, -0.5)
value$i <- ifelse(as.logical(value$instruct), 0.5, -0.5)
table <- coef(summary(lmer(score ~ m * i + (1 | model), value)))
out$methods <- list(
  permutation_p = mean(abs(flips) >= abs(sum(a - b)) * (1 - 1e-12)),
  interval = t.test(a, b, paired = TRUE)$conf.int,
  signed_rank = list(p = rank$p.value, estimate = rank$estimate[[1]], interval = rank$conf.int),
  mann_whitney = list(p = whitney$p.value, u = whitney$statistic[[1]]),
  mixed = list(estimate = table["m", "Estimate"], p = table["m", "Pr(>|t|)"]),
  instruct = list(estimate = table["m:i", "Estimate"], p = table["m:i", "Pr(>|t|)"]))
attributes(out$methods$interval) <- attributes(out$methods$signed_rank$interval) <- NULL
out$versions <- sapply(c("lme4", "lmerTest", "pbkrtest", "metafor"),
                       function(p) as.character(packageVersion(p)))
out$versions <- as.list(c(R = as.character(getRversion()), out$versions))
write_json(out, file.path(here, "invariance.json"), auto_unbox = TRUE, digits = NA, pretty = TRUE)
